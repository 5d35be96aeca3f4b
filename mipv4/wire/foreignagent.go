package wire

// EncapsulatingDelivery makes the Encapsulating Delivery Style extension (RFC 3024 §3.3): type 130, length 0. It stands
// behind the Mobile-Home Authentication extension and is consumed by the foreign agent.
func EncapsulatingDelivery() Extension { return Extension{Type: ExtEncapsulatingDelivery} }

// ForeignAgentError makes the FA Error extension (RFC 4636 §3), by which a foreign agent refuses what the home agent has
// granted without disturbing the home agent's reply: type 45, length 2, sub-type 0, status.
func ForeignAgentError(status Code) Extension {
	return Extension{Type: ExtForeignAgentError, Data: []byte{0, uint8(status)}}
}

// ParseForeignAgentError reads the status of an FA Error extension. Errors wrap ErrExtension.
func ParseForeignAgentError(e Extension) (Code, error) {
	if err := e.short(ExtForeignAgentError, 2, 0); err != nil {
		return 0, err
	}
	return Code(e.Data[1]), nil
}
