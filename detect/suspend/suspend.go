package suspend

import "errors"

// ErrUnsupported is given to Handler.Available on systems whose announcements of sleep this package does not know.
var ErrUnsupported = errors.New("suspend: announcements of sleep are not supported on this system")

// Handler is told of suspends. All of its functions must be set.
type Handler struct {
	// Prepare is called when the system is about to sleep. The system waits until it returns, but no longer than it allows
	// itself (logind: InhibitDelayMaxSec, 5 s unless configured otherwise).
	Prepare func()
	// Resumed is called when the system is awake again, also where Prepare was not called before; and when a sleep that was
	// announced did not come about or can no longer be heard of. Each Prepare is followed by one Resumed, unless the watch
	// ends.
	Resumed func()
	// Clock is called when the kernel says that the clock was set or the system resumed; it does not say which.
	Clock func()
	// Available is called whenever it changes whether announcements can be heard: nil when they can, else the reason. An
	// error of Clock's source is told here too.
	Available func(error)
}

// Source tells of suspends.
type Source interface {
	// Watch tells h until stop is called; stop waits for a call of h that is under way, so that h must not call it. Watch
	// returns at once: what fails is told to h.Available.
	Watch(h Handler) (stop func())
}
