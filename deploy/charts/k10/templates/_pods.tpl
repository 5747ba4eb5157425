{{/* What all pods of the chart have: they pass the Pod Security Standard "restricted". */}}

{{- define "k10.podSecurity" -}}
{{- $given := .Values.services.securityContext -}}
securityContext:
  runAsNonRoot: {{ $given.runAsNonRoot }}
  {{- if not (kindIs "invalid" $given.runAsUser) }}
  runAsUser: {{ int64 $given.runAsUser }}
  {{- end }}
  {{- if not (kindIs "invalid" $given.fsGroup) }}
  fsGroup: {{ int64 $given.fsGroup }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "k10.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{- define "k10.podAnnotations" -}}
{{- with merge (dict) .own (.root.Values.global.podAnnotations | default dict) -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end }}

{{/* A node that is lost is given up after half a minute, instead of five. */}}
{{- define "k10.scheduling" -}}
{{- $given := .Values.keelson -}}
{{- with $given.priorityClassName -}}
priorityClassName: {{ . | quote }}
{{ end -}}
{{- with $given.nodeSelector -}}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{ end -}}
tolerations:
  - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
  - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
  {{- with $given.tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Of every container. */}}
{{- define "k10.container" -}}
image: {{ include "k10.image" . | quote }}
imagePullPolicy: {{ .Values.global.image.pullPolicy }}
{{ include "k10.containerSecurity" . }}
{{- end }}

{{/* What the program takes by itself is info. */}}
{{- define "k10.logFilter" -}}
{{- if ne .Values.logLevel "info" -}}
{{- .Values.logLevel }},kube=warn,hyper=warn,tower=warn,aws_=warn
{{- end -}}
{{- end }}
