package control

// VPN is the tunnel to the gateway, for people and scripts.
type VPN struct {
	// Protocol names the protocol, such as "ipsec".
	Protocol string `json:"protocol"`
	// Established says that the gateway is authenticated and the tunnel set up; what follows is empty before.
	Established bool `json:"established"`
	// GatewayIdentity is the identity that the gateway has proved, GatewayProof how; OwnProof is how the laptop has proved its own.
	GatewayIdentity string `json:"gateway_identity,omitempty"`
	GatewayProof    string `json:"gateway_proof,omitempty"`
	OwnProof        string `json:"own_proof,omitempty"`
	// Suite names the algorithms of the key exchange, PacketSuite those that protect packets.
	Suite       string `json:"suite,omitempty"`
	PacketSuite string `json:"packet_suite,omitempty"`
	// KeyExchanges are the methods that the keys came from. Downgraded says that the gateway did no hybrid key exchange though one
	// was offered: what is recorded today can be read by who has a quantum computer one day. PPK says that a post-quantum
	// pre-shared key went into the keys (RFC 8784), which helps against that, too.
	KeyExchanges []string `json:"key_exchanges,omitempty"`
	Downgraded   bool     `json:"downgraded,omitempty"`
	PPK          bool     `json:"ppk,omitempty"`
	// Address is the address inside, DNS and Domains are what the gateway has told of names.
	Address string   `json:"address,omitempty"`
	DNS     []string `json:"dns,omitempty"`
	Domains []string `json:"domains,omitempty"`
	// Agent describes the foreign agent in the gateway that the laptop's packets go through, empty where they do not: then NoAgent
	// says why.
	Agent   string `json:"agent,omitempty"`
	NoAgent string `json:"no_agent,omitempty"`
	// Selectors are the destinations that the gateway lets through; Narrowed says that they are less than was asked for.
	Selectors []string `json:"selectors,omitempty"`
	Narrowed  bool     `json:"narrowed,omitempty"`
}
