package client

import (
	"errors"

	"mipvpn/mipv4/mobilenode"
)

// registrationAdvice says what to do about a refused registration.
func registrationAdvice(err error) string {
	if refused, ok := errors.AsType[*mobilenode.RegistrationError](err); ok {
		return refused.Advice
	}
	return ""
}
