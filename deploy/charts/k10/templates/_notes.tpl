{{- define "k10.notes" -}}
{{- $in := .Release.Namespace -}}
Keelson {{ .Chart.AppVersion }} is installed in namespace {{ $in }}.
{{- if .Values.fips.enabled }}
You are operating in FIPS mode.
{{- end }}

Wait for it, and see how it stands:
  kubectl rollout status --namespace {{ $in }} deployment/keelson --timeout 5m
  kubectl exec --namespace {{ $in }} deployment/keelson -- /keelson dr status --namespace {{ $in }}

Enable disaster recovery, with a location profile that is there already, here vault:
  kubectl create secret generic k10-dr-secret --namespace {{ $in }} --from-literal key=<passphrase>
  kubectl exec --namespace {{ $in }} deployment/keelson -- /keelson dr enable --namespace {{ $in }} --profile vault
It makes the policy k10-disaster-recovery-policy, which runs at once and then each hour.

Keep outside the cluster, without any of them nothing comes back:
  1. the cluster id: kubectl get namespace default -o jsonpath="{.metadata.uid}{'\n'}"
  2. the passphrase
  3. the location of the profile and its credentials

The dashboard is not a part of this version. Service gateway is there for it, and leads nowhere yet:
  kubectl --namespace {{ $in }} port-forward service/gateway 8080:{{ int .Values.gateway.service.externalPort }}
  http://127.0.0.1:8080/{{ .Release.Name }}/#/

helm uninstall leaves the claim catalog-pv-claim, the definitions of custom resources with all objects of them, and what
the platform made in {{ $in }}: Secrets and ConfigMaps. Deleting the namespace takes the claim and these; backups in
locations stay in any case.
{{- if not .Values.global.persistence.enabled }}

warning: global.persistence.enabled is false: the catalog is lost whenever the pod goes. Only what disaster recovery has
shipped comes back.
{{- end }}
{{- if not .Values.rbac.create }}

warning: rbac.create is false: nothing works before you have made the roles, and helm uninstall leaves the APIServices to
you: keelson guard --once deletes them.
{{- end }}
{{- if not .Values.keelson.rightsToApplications }}

note: keelson.rightsToApplications is false: bind ClusterRole {{ .Release.Name }}-serve-applications to account
{{ include "k10.serviceAccount" . }} in each namespace that is to be protected.
{{- end }}
{{- $vault := .Values.vault }}
{{- if and (not $vault.address) (or $vault.role $vault.secretName $vault.serviceAccountTokenPath $vault.mountPath $vault.namespace $vault.caSecretName) }}

note: vault.address is not set: Vault is asked at {{ include "k10.vaultAddress" . }}, without TLS.
{{- end }}
{{- with include "k10.valueNotes" . }}
{{ . }}
{{- end }}
{{- end }}
