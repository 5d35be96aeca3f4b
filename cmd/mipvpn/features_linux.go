package main

// features returns what the program can do on this system.
func features() []feature {
	return append(modeFeatures(featureTried, "", ""),
		feature{featureKillSwitch, featureTried, "nftables, from Linux 5.16 on"},
		feature{featureNames, featureTried, "systemd-resolved or resolv.conf"},
		feature{featurePortal, featureTried, ""},
		feature{featureSleep, featureTried, "systemd-logind"},
		feature{featureService, featureTried, "systemd"})
}
