package bench

import "fmt"

// Quantity names what is measured. The name tells the unit.
type Quantity string

// The quantities. "Near" is the laptop's end of a tunnel, "far" is all that stands at the other.
const (
	// Rate is what one TCP flow carries, payload at the receiver.
	Rate Quantity = "tcp_bits_per_second"
	// NearCPU and FarCPU are the processor time, user and system, that an end's processes take for 10^9 octets of the flow.
	NearCPU Quantity = "near_cpu_seconds_per_gb"
	FarCPU  Quantity = "far_cpu_seconds_per_gb"
	// LoadedRTT and LoadedRTT99 are the median and the 99th percentile of round trips while the flow runs.
	LoadedRTT   Quantity = "loaded_rtt_seconds"
	LoadedRTT99 Quantity = "loaded_rtt_p99_seconds"
	// Large and Small are the highest rates of UDP datagrams, of 1300 octets of payload and in IP packets of 64 octets,
	// with no more than MaxLoss lost.
	Large Quantity = "udp_1300_datagrams_per_second"
	Small Quantity = "udp_64_packets_per_second"
	// IdleRTT is the median of round trips while nothing else goes.
	IdleRTT Quantity = "idle_rtt_seconds"
	// WakeUps is how often the near end's process runs again after it has rested, while nothing goes; Switches are the context
	// switches of all its threads meanwhile, of which the Go runtime makes several, up to dozens, each time.
	WakeUps  Quantity = "near_idle_wakeups_per_second"
	Switches Quantity = "near_idle_context_switches_per_second"
	// NearRSS and FarRSS are the greatest resident memory of the ends' processes during the measurements.
	NearRSS Quantity = "near_peak_rss_octets"
	FarRSS  Quantity = "far_peak_rss_octets"
)

// MaxLoss is the share of datagrams that may be lost at a rate that counts.
const MaxLoss = 0.005

// Direction is the way of the data.
type Direction string

// The directions. Quantities such as IdleRTT have none.
const (
	Up   Direction = "up"   // near to far
	Down Direction = "down" // far to near
	None Direction = ""
)

// kind says how a quantity is shown.
type kind struct {
	quantity Quantity
	title    string  // column of the table, with the unit
	scale    float64 // of the unit shown
	format   string
	ratio    string // what a ratio of it is called
}

// kinds are the quantities in the order in which they are shown.
var kinds = []kind{
	{Rate, "TCP Mbit/s", 1e-6, "%.0f", "one TCP flow"},
	{NearCPU, "near CPU s/GB", 1, "%.2f", "CPU s/GB, near"},
	{FarCPU, "far CPU s/GB", 1, "%.2f", "CPU s/GB, far"},
	{LoadedRTT, "loaded RTT ms", 1e3, "%.2f", "RTT under load"},
	{LoadedRTT99, "p99 ms", 1e3, "%.2f", "RTT under load, p99"},
	{Large, "1300 B k/s", 1e-3, "%.1f", "UDP 1300 B"},
	{Small, "64 B k/s", 1e-3, "%.1f", "64-byte packets"},
	{IdleRTT, "idle RTT us", 1e6, "%.0f", "idle RTT"},
	{WakeUps, "wake-ups/s", 1, "%.2f", "idle wake-ups/s"},
	{Switches, "switches/s", 1, "%.2f", "idle context switches/s"},
	{NearRSS, "near RSS MiB", 1.0 / (1 << 20), "%.1f", "peak RSS, near"},
	{FarRSS, "far RSS MiB", 1.0 / (1 << 20), "%.1f", "peak RSS, far"},
}

// of returns how the quantity is shown.
func kindOf(q Quantity) kind {
	for _, k := range kinds {
		if k.quantity == q {
			return k
		}
	}
	return kind{quantity: q, title: string(q), scale: 1, format: "%g", ratio: string(q)}
}

func (k kind) show(v float64) string { return fmt.Sprintf(k.format, v*k.scale) }
