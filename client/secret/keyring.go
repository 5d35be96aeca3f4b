package secret

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// Names of the Secret Service API.
const (
	ringName       = "org.freedesktop.secrets"
	ringPath       = dbus.ObjectPath("/org/freedesktop/secrets")
	ringService    = "org.freedesktop.Secret.Service"
	ringItem       = "org.freedesktop.Secret.Item"
	ringCollection = "org.freedesktop.Secret.Collection"
	ringPrompt     = "org.freedesktop.Secret.Prompt"
	ringSession    = "org.freedesktop.Secret.Session"
)

// ErrNoItem says that the key ring has no such secret.
var ErrNoItem = errors.New("the key ring has no such secret")

// KeyRing is the key ring of a desktop, on the user's session bus.
type KeyRing struct{ conn *dbus.Conn }

// OpenKeyRing connects to the user's session bus. Close it.
func OpenKeyRing(ctx context.Context) (*KeyRing, error) {
	conn, err := dbus.ConnectSessionBus(dbus.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("secret: session bus: %w", err)
	}
	return &KeyRing{conn}, nil
}

// Close lets go of the bus.
func (k *KeyRing) Close() error { return k.conn.Close() }

// attributes are what our secrets are found by; `secret-tool lookup application mipvpn name NAME` finds them, too.
func attributes(name string) map[string]string {
	return map[string]string{"application": "mipvpn", "name": name}
}

// ringSecret is a Secret of the API.
type ringSecret struct {
	Session     dbus.ObjectPath
	Parameters  []byte
	Value       []byte
	ContentType string
}

// session opens a plain session: the secret crosses this user's own bus.
func (k *KeyRing) session(ctx context.Context) (dbus.ObjectPath, func(), error) {
	var output dbus.Variant
	var path dbus.ObjectPath
	err := k.service().CallWithContext(ctx, ringService+".OpenSession", 0, "plain", dbus.MakeVariant("")).Store(&output, &path)
	if err != nil {
		return "", nil, fmt.Errorf("secret: key ring: %w", err)
	}
	// Go, and not Call, which would wait for ever where the connection has gone.
	return path, func() { k.conn.Object(ringName, path).Go(ringSession+".Close", dbus.FlagNoReplyExpected, nil) }, nil
}

func (k *KeyRing) service() dbus.BusObject { return k.conn.Object(ringName, ringPath) }

// Lookup returns the secret of that name. The key ring may ask the person to unlock it. ErrNoItem where it has none.
func (k *KeyRing) Lookup(ctx context.Context, name string) ([]byte, error) {
	session, end, err := k.session(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	var unlocked, locked []dbus.ObjectPath
	if err := k.service().CallWithContext(ctx, ringService+".SearchItems", 0, attributes(name)).Store(&unlocked, &locked); err != nil {
		return nil, fmt.Errorf("secret: key ring: search: %w", err)
	}
	if len(unlocked) == 0 && len(locked) > 0 {
		if unlocked, err = k.unlock(ctx, locked[:1]); err != nil {
			return nil, err
		}
	}
	if len(unlocked) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoItem, name)
	}
	var s ringSecret
	if err := k.conn.Object(ringName, unlocked[0]).CallWithContext(ctx, ringItem+".GetSecret", 0, session).Store(&s); err != nil {
		return nil, fmt.Errorf("secret: key ring: %w", err)
	}
	if len(s.Value) == 0 || len(s.Value) > maxSecret {
		clear(s.Value)
		return nil, fmt.Errorf("secret: key ring: a secret of %d octets, want 1 to %d", len(s.Value), maxSecret)
	}
	return s.Value, nil
}

// Store puts a secret into the default collection, in the place of one of that name.
func (k *KeyRing) Store(ctx context.Context, name string, s []byte) error {
	session, end, err := k.session(ctx)
	if err != nil {
		return err
	}
	defer end()
	collection := dbus.ObjectPath("/org/freedesktop/secrets/aliases/default")
	if _, err := k.unlock(ctx, []dbus.ObjectPath{collection}); err != nil {
		return err
	}
	properties := map[string]dbus.Variant{
		ringItem + ".Label": dbus.MakeVariant("mipvpn: " + name), ringItem + ".Attributes": dbus.MakeVariant(attributes(name)),
	}
	var item, prompt dbus.ObjectPath
	err = k.conn.Object(ringName, collection).CallWithContext(ctx, ringCollection+".CreateItem", 0, properties,
		ringSecret{session, []byte{}, s, "text/plain"}, true).Store(&item, &prompt)
	if err != nil {
		return fmt.Errorf("secret: key ring: store: %w", err)
	}
	if prompt != "/" {
		_, err = k.prompt(ctx, prompt)
	}
	return err
}

// unlock unlocks objects and returns those that are.
func (k *KeyRing) unlock(ctx context.Context, objects []dbus.ObjectPath) ([]dbus.ObjectPath, error) {
	var unlocked []dbus.ObjectPath
	var prompt dbus.ObjectPath
	if err := k.service().CallWithContext(ctx, ringService+".Unlock", 0, objects).Store(&unlocked, &prompt); err != nil {
		return nil, fmt.Errorf("secret: key ring: unlock: %w", err)
	}
	if prompt == "/" {
		return unlocked, nil
	}
	result, err := k.prompt(ctx, prompt)
	if err != nil {
		return nil, err
	}
	if err := result.Store(&unlocked); err != nil {
		return nil, fmt.Errorf("secret: key ring: unlock: %w", err)
	}
	return unlocked, nil
}

// prompt has the key ring ask the person what it has to ask.
func (k *KeyRing) prompt(ctx context.Context, path dbus.ObjectPath) (dbus.Variant, error) {
	signals := make(chan *dbus.Signal, 8)
	k.conn.Signal(signals)
	defer k.conn.RemoveSignal(signals)
	match := []dbus.MatchOption{dbus.WithMatchObjectPath(path), dbus.WithMatchInterface(ringPrompt), dbus.WithMatchMember("Completed")}
	if err := k.conn.AddMatchSignalContext(ctx, match...); err != nil {
		return dbus.Variant{}, fmt.Errorf("secret: key ring: %w", err)
	}
	defer func() { _ = k.conn.RemoveMatchSignal(match...) }() // the connection is closed soon
	if err := k.conn.Object(ringName, path).CallWithContext(ctx, ringPrompt+".Prompt", 0, "").Err; err != nil {
		return dbus.Variant{}, fmt.Errorf("secret: key ring: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return dbus.Variant{}, ctx.Err()
		case s, ok := <-signals:
			if !ok {
				return dbus.Variant{}, errors.New("secret: the session bus has gone")
			}
			if s.Path != path || s.Name != ringPrompt+".Completed" {
				continue
			}
			var dismissed bool
			var result dbus.Variant
			if err := dbus.Store(s.Body, &dismissed, &result); err != nil {
				return dbus.Variant{}, fmt.Errorf("secret: key ring: %w", err)
			}
			if dismissed {
				return dbus.Variant{}, fmt.Errorf("secret: key ring: %w", ErrDeclined)
			}
			return result, nil
		}
	}
}
