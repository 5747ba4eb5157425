{{/* What things are called, and which image runs. */}}

{{/* The one place that decides which image is pulled. */}}
{{- define "k10.image" -}}
{{- $image := .Values.global.image -}}
{{- $registry := trimSuffix "/" (.Values.global.airgapped.repository | default $image.registry) -}}
{{- printf "%s%s:%s" (ternary (printf "%s/" $registry) "" (ne $registry "")) $image.repository ($image.tag | default .Chart.AppVersion) -}}
{{- end }}

{{- define "k10.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (printf "%s-k10" .Release.Name) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{- define "k10.guardServiceAccount" -}}
{{- ternary (printf "%s-guard" .Release.Name) (include "k10.serviceAccount" .) .Values.serviceAccount.create -}}
{{- end }}

{{/* Labels of an object, as YAML. Takes a dict of root and, for pods, component. The chart's own win. */}}
{{- define "k10.labels" -}}
{{- $root := .root -}}
{{- $own := dict
    "app.kubernetes.io/name" $root.Chart.Name
    "app.kubernetes.io/instance" $root.Release.Name
    "app.kubernetes.io/version" $root.Chart.AppVersion
    "app.kubernetes.io/managed-by" $root.Release.Service
    "app.kubernetes.io/part-of" "k10"
    "helm.sh/chart" (printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_")) -}}
{{- if .component }}{{ $_ := set $own "component" .component }}{{ end -}}
{{- $given := $root.Values.global.resourceLabels | default dict -}}
{{- if .pod }}{{ $given = merge (dict) ($root.Values.global.podLabels | default dict) $given }}{{ end -}}
{{- toYaml (merge $own $given) -}}
{{- end }}

{{/* What selects the pods of a component, for good: a Deployment cannot change it. */}}
{{- define "k10.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
component: {{ .component }}
{{- end }}

{{/* Where Vault is, if nothing but how to sign in is said: the documented default. */}}
{{- define "k10.vaultAddress" -}}
{{- .Values.vault.address | default "http://vault.vault.svc:8200" -}}
{{- end }}

{{- define "k10.imagePullSecrets" -}}
{{- $names := list -}}
{{- with .Values.global.imagePullSecret }}{{ $names = append $names . }}{{ end -}}
{{- if include "k10.dockerConfig" . }}{{ $names = append $names "k10-ecr" }}{{ end -}}
{{- with uniq $names -}}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end -}}
{{- end }}

{{/* The Docker configuration in base64, or nothing. */}}
{{- define "k10.dockerConfig" -}}
{{- $given := .Values.secrets.dockerConfig -}}
{{- if and (not $given) .Values.secrets.dockerConfigPath }}{{ $given = b64enc .Values.secrets.dockerConfigPath }}{{ end -}}
{{- if $given -}}
{{- $read := fromJson (b64dec $given) -}}
{{- if or (hasKey $read "Error") (not (hasKey $read "auths")) -}}
{{- fail "secrets.dockerConfig must be the base64 of a Docker configuration, and secrets.dockerConfigPath such a configuration itself: --set-string secrets.dockerConfig=$(base64 -w 0 config.json), or --set-file secrets.dockerConfigPath=config.json, of a file that begins with {\"auths\": {" -}}
{{- end -}}
{{- $given -}}
{{- end -}}
{{- end }}
