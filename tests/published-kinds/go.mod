// Definitions of others' kinds, as they publish them: our manifests are held against these. Nothing is built of it.
module lanyard.dev/published-kinds

go 1.26.0

require (
	github.com/argoproj/argo-cd/v3 v3.1.0
	github.com/fluxcd/kustomize-controller v1.9.1
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
