//go:build !linux && !darwin

package device

// defaultName is the device's name when none is given.
const defaultName = "mipvpn"
