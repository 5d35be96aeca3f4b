//go:build !linux

package suspend

// Logind follows the login manager of systemd, which there is on Linux alone.
type Logind struct {
	// Address is the bus's address.
	Address string
}

var _ Source = Logind{}

// Watch implements Source: it tells h.Available ErrUnsupported and nothing else.
func (Logind) Watch(h Handler) (stop func()) {
	h.Available(ErrUnsupported)
	return func() {}
}
