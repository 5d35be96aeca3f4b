// Package power tells whether the laptop runs on battery and whether its connection is metered.
//
// Purpose: what is sent for the sake of being reachable only, such as keepalives, can come more rarely while power or octets are dear.
// Desktop asks UPower and NetworkManager on D-Bus, and hears from them when that changes. What it tells is a hint: it decides nothing
// about where the laptop is or what may leave it (DET-11).
//
// Specification: org.freedesktop.UPower, property OnBattery; org.freedesktop.NetworkManager, property Metered (NMMetered: yes and
// guess-yes count), which is that of the primary connection; org.freedesktop.DBus.Properties. Left out: the property Metered of each
// device, power profiles, how full the battery is; darwin and windows, where nothing is known.
//
// Concurrency: a Source may be watched several times. The function of one watch is called from one goroutine.
//
// Ownership: the connection to the bus belongs to the watch.
package power
