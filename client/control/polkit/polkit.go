package polkit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"mipvpn/client/control"
)

// Names of the service.
const (
	serviceName  = "org.freedesktop.PolicyKit1"
	servicePath  = dbus.ObjectPath("/org/freedesktop/PolicyKit1/Authority")
	authority    = "org.freedesktop.PolicyKit1.Authority"
	errorFailed  = "org.freedesktop.PolicyKit1.Error.Failed"
	errorCancel  = "org.freedesktop.PolicyKit1.Error.Cancelled"
	errorUnknown = "org.freedesktop.DBus.Error.ServiceUnknown"
	errorNoOwner = "org.freedesktop.DBus.Error.NameHasNoOwner"
)

// prefix is what the names of the actions begin with.
const prefix = "org.mipvpn."

const (
	// answerTime is how long polkit may take where no person is asked, and personTime where one is; withdrawTime is for taking a question back.
	answerTime   = 5 * time.Second
	personTime   = 5 * time.Minute
	withdrawTime = time.Second
	// allowInteraction is the flag of CheckAuthorization that lets a person be asked.
	allowInteraction = uint32(1)
)

// Errors of Judge besides control.ErrNoJudge.
var (
	// ErrRefused means that polkit's rules do not let the user.
	ErrRefused = errors.New("polkit's rules do not allow it")
	// ErrPassword means that polkit would allow it for an administrator's password, and nobody could be asked.
	ErrPassword = errors.New("it takes an administrator's password, for which nobody could be asked: run the command on a terminal of the desktop, or with sudo")
	// ErrUnanswered means that polkit has not said anything of use.
	ErrUnanswered = errors.New("polkit does not answer")
	// ErrProcess means that the process that asks cannot be told from others.
	ErrProcess = errors.New("the process that asks has ended, or is hidden from the daemon")
)

// Authority asks polkit. The zero value is not ready; use New.
type Authority struct {
	bus func(context.Context) (*dbus.Conn, error)
}

var _ control.Judge = (*Authority)(nil)

// New returns an Authority that finds polkit on the bus to which bus connects; each connection is closed after use.
func New(bus func(context.Context) (*dbus.Conn, error)) *Authority { return &Authority{bus} }

// Action returns the name of the action that stands for a right.
func Action(r control.Right) string { return prefix + r.String() }

// subject is polkit's Subject.
type subject struct {
	Kind    string
	Details map[string]dbus.Variant
}

// result is polkit's AuthorizationResult.
type result struct {
	Authorized, Challenge bool
	Details               map[string]string
}

// Judge implements control.Judge.
func (a *Authority) Judge(ctx context.Context, peer control.Peer, right control.Right, interactive bool) error {
	limit := answerTime
	if interactive && right != control.RightRead {
		limit = personTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	life, end := context.WithTimeout(context.WithoutCancel(ctx), limit+withdrawTime) // a question is withdrawn on its own connection
	defer end()
	conn, err := a.bus(life)
	if err != nil {
		return fmt.Errorf("%w: the system bus: %w", control.ErrNoJudge, err)
	}
	defer conn.Close()
	if right == control.RightRead {
		return present(ctx, conn)
	}
	if peer.PID <= 0 || peer.Start == 0 {
		return ErrProcess
	}
	who := subject{"unix-process", map[string]dbus.Variant{
		"pid": dbus.MakeVariant(uint32(peer.PID)), "start-time": dbus.MakeVariant(peer.Start), "uid": dbus.MakeVariant(int32(peer.UID)),
	}}
	flags := uint32(0)
	if interactive {
		flags = allowInteraction
	}
	const question = "1" // the only one on this connection, whose end withdraws it, too
	object := conn.Object(serviceName, servicePath)
	var r result
	err = object.CallWithContext(ctx, authority+".CheckAuthorization", 0, who, Action(right), map[string]string{}, flags, question).Store(&r)
	if ctx.Err() != nil {
		// Go, and not Call, which would wait for ever where the connection has gone.
		object.Go(authority+".CancelCheckAuthorization", dbus.FlagNoReplyExpected, nil, question)
		return fmt.Errorf("%w: %w", ErrUnanswered, ctx.Err())
	}
	if err != nil {
		return failure(err)
	}
	switch {
	case r.Authorized:
		return nil
	case r.Challenge:
		return ErrPassword
	}
	return ErrRefused
}

// present returns nil when there is polkit, so that it is this machine's way to decide about users.
func present(ctx context.Context, conn *dbus.Conn) error {
	var owned bool
	var startable []string
	bus := conn.BusObject()
	if err := bus.CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, serviceName).Store(&owned); err != nil {
		return fmt.Errorf("%w: %w", ErrUnanswered, err)
	}
	if owned {
		return nil
	}
	if err := bus.CallWithContext(ctx, "org.freedesktop.DBus.ListActivatableNames", 0).Store(&startable); err != nil {
		return fmt.Errorf("%w: %w", ErrUnanswered, err)
	}
	for _, name := range startable {
		if name == serviceName {
			return nil
		}
	}
	return fmt.Errorf("%w: polkit is not installed", control.ErrNoJudge)
}

// failure says what an error of CheckAuthorization means.
func failure(err error) error {
	e, ok := errors.AsType[dbus.Error](err)
	if !ok {
		return fmt.Errorf("%w: %w", ErrUnanswered, err)
	}
	switch {
	case e.Name == errorUnknown, e.Name == errorNoOwner:
		return fmt.Errorf("%w: polkit is not installed: %w", control.ErrNoJudge, err)
	case e.Name == errorFailed && strings.Contains(e.Error(), "is not registered"):
		return fmt.Errorf("%w: polkit does not know the actions of mipvpn (%w)", control.ErrNoJudge, err)
	case e.Name == errorCancel:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return fmt.Errorf("%w: %w", ErrUnanswered, err)
}
