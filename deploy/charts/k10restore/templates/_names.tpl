{{/* What things are called, and which image runs. */}}

{{- define "k10restore.name" -}}
{{- .Values.fullnameOverride | default .Release.Name -}}
{{- end }}

{{/* The one place that decides which image is pulled. */}}
{{- define "k10restore.image" -}}
{{- $image := .Values.global.image -}}
{{- $registry := trimSuffix "/" (.Values.airgapped.repository | default $image.registry) -}}
{{- printf "%s%s:%s" (ternary (printf "%s/" $registry) "" (ne $registry "")) $image.repository ($image.tag | default .Chart.AppVersion) -}}
{{- end }}

{{/* Labels of an object, as YAML. Takes a dict of root and, for pods, pod. The chart's own win. */}}
{{- define "k10restore.labels" -}}
{{- $root := .root -}}
{{- $own := dict
    "app.kubernetes.io/name" $root.Chart.Name
    "app.kubernetes.io/instance" $root.Release.Name
    "app.kubernetes.io/version" $root.Chart.AppVersion
    "app.kubernetes.io/managed-by" $root.Release.Service
    "app.kubernetes.io/part-of" "k10"
    "helm.sh/chart" (printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_")) -}}
{{- $given := merge (dict) ($root.Values.global.resourceLabels | default dict) -}}
{{- if .pod -}}
{{- $given = merge (dict) ($root.Values.global.ephemeralResourceLabels | default dict) ($root.Values.podLabels | default dict) $given -}}
{{- end -}}
{{- toYaml (merge $own $given) -}}
{{- end }}
