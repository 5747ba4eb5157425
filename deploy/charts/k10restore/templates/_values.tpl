{{/* What the install notes say of values that have no effect, and of unknown ones. */}}

{{/* The path of each leaf, one a line. Takes a dict of values and prefix. */}}
{{- define "k10restore.leaves" -}}
{{- $prefix := .prefix -}}
{{- range $key, $value := .values -}}
{{- $path := printf "%s%s" $prefix $key -}}
{{- if kindIs "map" $value -}}
{{- include "k10restore.leaves" (dict "values" $value "prefix" (printf "%s." $path)) -}}
{{- else -}}
{{- printf "%s\n" $path -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* "yes" if a path is one of a list, in which .* stands for all below. */}}
{{- define "k10restore.isListed" -}}
{{- $path := .path -}}
{{- $is := has $path .list -}}
{{- range .list -}}
{{- if and (hasSuffix ".*" .) (hasPrefix (trimSuffix "*" .) $path) }}{{ $is = true }}{{ end -}}
{{- end -}}
{{- if $is }}yes{{ end -}}
{{- end }}

{{/* What becomes of a text if any one letter is left out, and itself, as JSON. */}}
{{- define "k10restore.shortened" -}}
{{- $text := . -}}
{{- $all := list $text -}}
{{- range $at := until (len $text) -}}
{{- $all = append $all (printf "%s%s" (trunc $at $text) (substr (int (add1 $at)) (len $text) $text)) -}}
{{- end -}}
{{- toJson $all -}}
{{- end }}

{{/*
The known path that somebody may have meant, or nothing: the same but for case and dashes, or but for one letter that is
missing, too many, wrong or swapped with its neighbour, or the same in another place.
*/}}
{{- define "k10restore.nearMiss" -}}
{{- $path := .path -}}
{{- $plain := regexReplaceAll "[^a-z0-9.]" (lower $path) "" -}}
{{- $shortened := fromJsonArray (include "k10restore.shortened" $plain) -}}
{{- $found := "" -}}
{{- range $known := .list -}}
{{- $other := regexReplaceAll "[^a-z0-9.]" (lower (trimSuffix ".*" $known)) "" -}}
{{- $gap := sub (len $plain) (len $other) -}}
{{- if not $found -}}
{{- if eq $plain $other -}}
{{- $found = $known -}}
{{- else if and (gt (len $plain) 7) (hasSuffix (printf ".%s" $plain) $other) -}}
{{- $found = $known -}}
{{- else if and (contains "." $other) (hasSuffix (printf ".%s" $other) $plain) -}}
{{- $found = $known -}}
{{- else if and (le $gap 1) (ge $gap -1) -}}
{{- range fromJsonArray (include "k10restore.shortened" $other) -}}
{{- if has . $shortened }}{{ $found = $known }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- trimSuffix ".*" $found -}}
{{- end }}

{{- define "k10restore.valueNotes" -}}
{{- $known := fromYaml (.Files.Get "files/known-values.yaml") -}}
{{- $all := $known.effective -}}
{{- range $known.withoutEffect }}{{ $all = concat $all .values }}{{ end -}}
{{- range $path := splitList "\n" (include "k10restore.leaves" (dict "values" .Values "prefix" "")) -}}
{{- if and $path (not (include "k10restore.isListed" (dict "path" $path "list" $known.effective))) -}}
{{- $why := "" -}}
{{- range $known.withoutEffect -}}
{{- if include "k10restore.isListed" (dict "path" $path "list" .values) }}{{ $why = .why }}{{ end -}}
{{- end -}}
{{- if $why }}
note: {{ $path }} has no effect: {{ $why }}
{{- else }}
{{- $near := include "k10restore.nearMiss" (dict "path" $path "list" $all) }}
warning: {{ $path }} is unknown and has no effect{{ with $near }}; did you mean {{ . }}?{{ end }}
{{- end }}
{{- end -}}
{{- end -}}
{{- end }}
