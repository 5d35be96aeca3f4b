package device

// defaultName makes the system pick the number of the device.
const defaultName = "utun"
