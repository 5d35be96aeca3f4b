package secret

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"mipvpn/detect/resolve/bustest"
)

// ring is a Secret Service with one item, which is locked until its prompt has been completed.
type ring struct {
	conn    *dbus.Conn
	mu      sync.Mutex
	name    string
	secret  []byte
	locked  bool
	dismiss bool
}

const (
	itemPath    = dbus.ObjectPath("/org/freedesktop/secrets/collection/login/1")
	promptPath  = dbus.ObjectPath("/org/freedesktop/secrets/prompt/1")
	sessionPath = dbus.ObjectPath("/org/freedesktop/secrets/session/1")
	loginPath   = dbus.ObjectPath("/org/freedesktop/secrets/aliases/default")
)

func (r *ring) OpenSession(algorithm string, _ dbus.Variant) (dbus.Variant, dbus.ObjectPath, *dbus.Error) {
	if algorithm != "plain" {
		return dbus.Variant{}, "", dbus.MakeFailedError(errors.New("not supported"))
	}
	return dbus.MakeVariant(""), sessionPath, nil
}

func (r *ring) SearchItems(a map[string]string) (unlocked, locked []dbus.ObjectPath, _ *dbus.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	unlocked, locked = []dbus.ObjectPath{}, []dbus.ObjectPath{}
	switch {
	case a["application"] != "mipvpn" || a["name"] != r.name:
	case r.locked:
		locked = append(locked, itemPath)
	default:
		unlocked = append(unlocked, itemPath)
	}
	return unlocked, locked, nil
}

func (r *ring) Unlock(objects []dbus.ObjectPath) ([]dbus.ObjectPath, dbus.ObjectPath, *dbus.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.locked {
		return []dbus.ObjectPath{}, promptPath, nil
	}
	return objects, "/", nil
}

// set changes what the bus's goroutines look at.
func (r *ring) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// prompts, items and collections are the other objects.
type prompts struct{ *ring }

func (p prompts) Prompt(string) *dbus.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.locked = p.dismiss
	err := p.conn.Emit(promptPath, ringPrompt+".Completed", p.dismiss, dbus.MakeVariant([]dbus.ObjectPath{itemPath}))
	if err != nil {
		return dbus.MakeFailedError(err)
	}
	return nil
}

type items struct{ *ring }

func (i items) GetSecret(session dbus.ObjectPath) (ringSecret, *dbus.Error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.locked || session != sessionPath {
		return ringSecret{}, dbus.MakeFailedError(errors.New("locked"))
	}
	return ringSecret{session, []byte{}, i.secret, "text/plain"}, nil
}

type collections struct{ *ring }

func (c collections) CreateItem(p map[string]dbus.Variant, s ringSecret, replace bool) (dbus.ObjectPath, dbus.ObjectPath, *dbus.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := p[ringItem+".Attributes"].Value().(map[string]string)
	if !ok || !replace || c.locked {
		return "/", "/", dbus.MakeFailedError(errors.New("no attributes, or locked"))
	}
	c.ring.name, c.ring.secret = a["name"], s.Value
	return itemPath, "/", nil
}

// Shows: IKE-2
func TestKeyRing(t *testing.T) {
	bus := bustest.Start(t)
	server, err := bus.Connect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	r := &ring{conn: server, name: "password of alice", secret: []byte("geheim"), locked: true, dismiss: true}
	for path, o := range map[dbus.ObjectPath]struct {
		v     any
		iface string
	}{ringPath: {r, ringService}, promptPath: {prompts{r}, ringPrompt}, itemPath: {items{r}, ringItem}, loginPath: {collections{r}, ringCollection}} {
		if err := server.Export(o.v, path, o.iface); err != nil {
			t.Fatal(err)
		}
	}
	if reply, err := server.RequestName(ringName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("%v, %v", reply, err)
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", bus.Address())
	k, err := OpenKeyRing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if _, err := k.Lookup(t.Context(), "password of bob"); !errors.Is(err, ErrNoItem) {
		t.Errorf("error %v, want %v", err, ErrNoItem)
	}
	if _, err := k.Lookup(t.Context(), "password of alice"); !errors.Is(err, ErrDeclined) {
		t.Errorf("the person dismissed the prompt: %v", err)
	}
	r.set(func() { r.dismiss = false })
	if s, err := k.Lookup(t.Context(), "password of alice"); err != nil || string(s) != "geheim" {
		t.Errorf("%q, %v", s, err)
	}
	if err := k.Store(t.Context(), "PIN of card", []byte("1234")); err != nil {
		t.Fatal(err)
	}
	if s, err := k.Lookup(t.Context(), "PIN of card"); err != nil || string(s) != "1234" {
		t.Errorf("%q, %v", s, err)
	}
	r.set(func() { r.secret = nil })
	if _, err := k.Lookup(t.Context(), "PIN of card"); err == nil {
		t.Error("an empty secret was taken")
	}
}
