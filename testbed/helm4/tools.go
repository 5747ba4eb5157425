//go:build tools

// Package helm4 pins Helm 4, which is current.
package helm4

import _ "helm.sh/helm/v4/cmd/helm"
