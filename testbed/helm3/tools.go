//go:build tools

// Package helm3 pins Helm 3, which many still have.
package helm3

import _ "helm.sh/helm/v3/cmd/helm"
