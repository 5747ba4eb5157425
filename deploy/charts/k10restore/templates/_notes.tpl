{{- define "k10restore.notes" -}}
{{- $in := .Release.Namespace -}}
{{- $job := include "k10restore.name" . -}}
Job {{ $job }} recovers the platform in namespace {{ $in }} from cluster {{ .Values.sourceClusterID }}.
{{- if .Values.fips.enabled }}
FIPS mode is asked for: the platform here, which does the work, must have been installed with fips.enabled=true. Neither this
chart nor its Job looks whether it was; a recovery from a cluster in the other mode is only warned about.
{{- end }}

Follow it, and wait for it:
  kubectl logs --namespace {{ $in }} --follow job/{{ $job }}
  kubectl wait --namespace {{ $in }} --for=jsonpath={.status.succeeded}=1 job/{{ $job }} --timeout={{ include "k10restore.timeout" . }}m

If it fails, this says why. Mend it, uninstall, and install again with the values that are right; a Job cannot be changed:
  kubectl get pods --namespace {{ $in }} --selector job-name={{ $job }} -o jsonpath='{.items[*].status.containerStatuses[*].state.terminated.message}'

When it is done and nobody else uses the same backups, for good:
  kubectl delete configmap --namespace={{ $in }} k10-dr-remove-to-get-ownership

Then take the Job away; what was restored stays:
  helm uninstall {{ .Release.Name }} --namespace={{ $in }}
{{- $vault := .Values.vault }}
{{- if and (not $vault.enabled) (or $vault.address $vault.role $vault.secretName $vault.mountPath $vault.namespace $vault.caSecretName) }}

warning: values of vault are set, but vault.enabled is false, so none of them counts: add --set vault.enabled=true.
{{- end }}
{{- if and .Values.quickMode.overrideResources (not .Values.quickMode.enabled) }}

note: quickMode.overrideResources is true without quickMode.enabled.
{{- end }}
{{- with include "k10restore.valueNotes" . }}
{{ . }}
{{- end }}
{{- end }}
