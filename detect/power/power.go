package power

// State is what is known of power and connection. What is not known is false.
type State struct {
	// Battery says that the laptop runs on battery.
	Battery bool
	// Metered says that octets of the connection cost money, as far as a person or the network says so.
	Metered bool
}

// Dear reports whether anything is to be saved.
func (s State) Dear() bool { return s.Battery || s.Metered }

// String says so in plain words.
func (s State) String() string {
	switch {
	case s.Battery && s.Metered:
		return "on battery, and the connection is metered"
	case s.Battery:
		return "on battery"
	case s.Metered:
		return "the connection is metered"
	}
	return "on mains, and the connection is not metered, as far as is known"
}

// Source tells of power and connection.
type Source interface {
	// Watch tells each State that differs from the one before, which is the zero State at first, until stop is called; stop waits
	// for a call that is under way, so that tell must not call it. Watch returns at once. Where nothing can be found out, nothing is
	// told; where it no longer can, that part is false.
	Watch(tell func(State)) (stop func())
}
