package credential

import (
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/windowstpm"
)

// openDevice opens the TPM through the system's base services; there is only one.
func openDevice(string) (transport.TPMCloser, error) { return windowstpm.Open() }
