package overhead

import "mipvpn/stack"

// Columns are the columns of the draft's table: the mechanisms that everybody on the path has.
var Columns = []string{"basic", "+ vpn/fa", "+ vpn/fa + sa-update", "+ vpn/fa + zot", "+ vpn/fa + sa-update + zot"}

// NotMobile stands in the draft's table where a laptop could not move without its sessions breaking.
const NotMobile = -1

// Row is a row of the draft's table.
type Row struct {
	// Place is where the laptop is.
	Place string
	// Draft are the figures that the draft gives, by column.
	Draft [5]int
	// Cells say what carries the packets, by column; without a mode where it is NotMobile.
	Cells [5]Composition
}

// at is the composition of a mode by itself.
func at(m stack.Mode) Composition { return Composition{Mode: m} }

// Rows are the rows of the draft's table (§6.2).
var Rows = []Row{
	{"inside, FA", [5]int{0, 0, 0, 0, 0}, [5]Composition{at(stack.ModeF), at(stack.ModeF), at(stack.ModeF), at(stack.ModeF), at(stack.ModeF)}},
	{"inside, co-CoA", [5]int{20, 20, 20, 20, 20}, [5]Composition{at(stack.ModeC), at(stack.ModeC), at(stack.ModeC), at(stack.ModeC), at(stack.ModeC)}},
	{"outside, FA, x-MIP", [5]int{77, 57, 57, 57, 57}, [5]Composition{at(stack.ModeFVC), at(stack.ModeFVF), at(stack.ModeFVF), at(stack.ModeFVF), at(stack.ModeFVF)}},
	{"outside, co-CoA, x-MIP", [5]int{97, 77, 77, 57, 57}, [5]Composition{at(stack.ModeCVC), at(stack.ModeCVF), at(stack.ModeCVF), {stack.ModeCVF, true}, {stack.ModeCVF, true}}},
	{"outside, co-CoA, no x-MIP", [5]int{NotMobile, NotMobile, 57, NotMobile, 57}, [5]Composition{{}, {}, at(stack.ModeVF), {}, at(stack.ModeVF)}},
}
