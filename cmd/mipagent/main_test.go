package main

import (
	"os"
	"testing"
)

// asMipagent in the environment makes the test program mipagent, which a test can kill.
const asMipagent = "MIPAGENT_OF_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(asMipagent) != "" {
		main()
	}
	os.Exit(m.Run())
}
