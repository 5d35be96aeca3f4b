package link

// ResolverName is the name of the interface, one that nothing leaves by, for which the host's resolver is told whom to ask
// about the enterprise's names; ResolverPeer that of its other end where it has one. Host.Interfaces tells of neither.
const (
	ResolverName = "mipdns0"
	ResolverPeer = "mipdns1"
)
