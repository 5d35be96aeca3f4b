package main

// features returns what the program can do on this system.
func features() []feature {
	return append(modeFeatures(featureUntried, "pf has no permits that end by themselves", "there is no access to the link layer"),
		feature{featureKillSwitch, featureUntried, "pf"},
		feature{featureNames, featureUntried, "/etc/resolver; not in full tunnels"},
		feature{featurePortal, featureUnavailable, "a browser cannot be confined"},
		feature{featureSleep, featureUnavailable, "the clock tells afterwards"},
		feature{featureService, featureUntried, "launchd (configs/launchd)"})
}
