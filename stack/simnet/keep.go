package simnet

import "mipvpn/tun/link"

var _ link.SettingsKeeper = (*Host)(nil)

// KeepSettings implements link.SettingsKeeper. Nothing here takes settings away but TakeAway.
func (h *Host) KeepSettings(told func(link.Restored, error)) (stop func(), err error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.told = told
	return func() {
		h.net.mu.Lock()
		defer h.net.mu.Unlock()
		h.told = nil
	}, nil
}

// TakeAway does as if another program had taken r of the settings away, and they had been put back, or could not be for err: a kill
// switch that is put back has no permits.
func (h *Host) TakeAway(r link.Restored, err error) {
	h.net.mu.Lock()
	if r.KillSwitch && h.line != nil {
		clear(h.line.permits)
	}
	told := h.told
	h.net.mu.Unlock()
	if told != nil {
		told(r, err)
	}
}
