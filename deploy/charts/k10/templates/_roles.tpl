{{/*
A generated role or binding under the names of this release. Takes a dict of root, path, and perhaps account (instead of
the one that a binding names), annotations, and rename: of a role for somebody else.
*/}}
{{- define "k10.role" -}}
{{- $root := .root -}}
{{- $release := $root.Release.Name -}}
{{- $text := $root.Files.Get .path -}}
{{- with .rename }}{{ $text = replace "RELEASE-guard" (printf "RELEASE-%s" .) $text }}{{ end -}}
{{- $object := fromYaml ($text | replace "RELEASE" $release | replace "NAMESPACE" $root.Release.Namespace) -}}
{{- $_ := set $object.metadata "labels" (fromYaml (include "k10.labels" (dict "root" $root))) -}}
{{- with .annotations }}{{ $_ := set $object.metadata "annotations" . }}{{ end -}}
{{- $account := .account -}}
{{- range $object.subjects -}}
{{- if eq .kind "ServiceAccount" -}}
{{- if $account }}{{ $_ := set . "name" $account }}
{{- else if eq .name (printf "%s-k10" $release) }}{{ $_ := set . "name" (include "k10.serviceAccount" $root) }}
{{- else }}{{ $_ := set . "name" (include "k10.guardServiceAccount" $root) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- toYaml $object -}}
{{- end }}
