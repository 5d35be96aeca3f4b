package main

// features returns what the program can do on this system.
func features() []feature {
	return append(modeFeatures(featureUntried, "the filtering platform has no permits that end by themselves", "there is no access to the link layer"),
		feature{featureKillSwitch, featureUntried, "Windows Filtering Platform"},
		feature{featureNames, featureUntried, "name resolution policy table"},
		feature{featurePortal, featureUnavailable, "a browser cannot be confined"},
		feature{featureSleep, featureUnavailable, "the clock tells afterwards"},
		feature{featureService, featureUntried, "a Windows service (configs/windows); it needs wintun.dll"})
}
