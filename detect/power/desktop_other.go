//go:build !linux

package power

// Desktop asks UPower and NetworkManager, which there are on Linux alone.
type Desktop struct {
	// Address is the bus's address.
	Address string
}

var _ Source = Desktop{}

// Watch implements Source: it tells nothing.
func (Desktop) Watch(func(State)) (stop func()) { return func() {} }
