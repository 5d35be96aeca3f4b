package link

import "errors"

// ErrTooBig is wrapped by the errors of Sender.Send and Flow.Send about a packet that the interface does not take for its
// length, and that must not be fragmented. It is what this host alone knows, whatever the path behind it carries.
var ErrTooBig = errors.New("packet exceeds the interface's MTU")
