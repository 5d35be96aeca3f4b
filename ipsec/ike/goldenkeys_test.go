package ike

import "encoding/hex"

// goldenKeys are the values of TestKeyDerivation.
var goldenKeys = map[string][]byte{
	"d":                      octets("c722ec79f3a6f0fdf87e7d7286473ceedfc74bf31ac7839e19182a1423795f9e"),
	"ei":                     octets("d5059c6d4aa25e27ad4c0f860b90ccd9ca06fb1931f2b2f36f0b0fa2f5e6374d9ef86245"),
	"er":                     octets("814f6807fea335556ec21e4b17b916775a7ae93b8b2b04a0e5d51382010462b0dd90c5a9"),
	"pi":                     octets("331cde56e9c2c7bab1558566bee0337afcf43c5d50b22276856b5081172d2935"),
	"pr":                     octets("4a66752eb21ca7f0661cdc5db04232cff5fc6f18f6542a725ea13121d56eb411"),
	"child to responder":     octets("805d03c6852b82de66e86f2407798f6c03e63649"),
	"child to initiator":     octets("20e12105b1e0bd6f25bd8c0a76d7646a381dab8c"),
	"PFS child to responder": octets("15cc50d91d39839a17098f7d4d7dd7bf0a07e096"),
	"PFS child to initiator": octets("2ad469248ceecd33bad73cbd0a35bfb25052052e"),
	"successor's SKEYSEED":   octets("402f6cd326d972cc5978c60fbb0fc41cc71cab0acf5f53c1b61b5d0c140075b8"),
	"AUTH":                   octets("540d978b777cdc865d655a6426a34af20fbfe7cf06e2e423414b20509b00453c"),
}

func octets(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}
