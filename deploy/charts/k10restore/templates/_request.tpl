{{/*
What is asked for, checked before anything is installed: each helper answers a value in the spelling of the program, or
fails and says what is wrong, where, and how it is written.
*/}}

{{- define "k10restore.example" -}}
helm install {{ .Release.Name }} kasten/k10restore --namespace={{ .Release.Namespace }} --set sourceClusterID=<source-clusterID> --set profile.name=<location-profile-name>
{{- end }}

{{- define "k10restore.sourceClusterID" -}}
{{- $given := .Values.sourceClusterID -}}
{{- if not $given -}}
{{- fail (printf "sourceClusterID is missing: the UID of namespace default of the lost cluster, as in %s" (include "k10restore.example" .)) -}}
{{- end -}}
{{- if not (and (kindIs "string" $given) (regexMatch "^[a-z0-9][-a-z0-9]{7,63}$" (toString $given))) -}}
{{- fail (printf "sourceClusterID is \"%v\", which is no id of a cluster: it is a text like 0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa, the UID of its namespace default" $given) -}}
{{- end -}}
{{- $given -}}
{{- end }}

{{- define "k10restore.profile" -}}
{{- $profile := .Values.profile -}}
{{- $given := "" -}}
{{- if kindIs "map" $profile }}{{ $given = $profile.name }}{{ end -}}
{{- if not $given -}}
{{- fail (printf "profile.name is missing: the location profile in namespace %s that leads to the backups, as in %s" .Release.Namespace (include "k10restore.example" .)) -}}
{{- end -}}
{{- if not (and (kindIs "string" $given) (regexMatch "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" (toString $given))) -}}
{{- fail (printf "profile.name is \"%v\", which is no name of a profile: kubectl get profiles.config.kio.kasten.io --namespace %s lists them, as in --set profile.name=vaulted-s3" $given .Release.Namespace) -}}
{{- end -}}
{{- $given -}}
{{- end }}

{{/* In the spelling of the program: plural, once each. */}}
{{- define "k10restore.skipResource" -}}
{{- $given := .Values.skipResource -}}
{{- $words := list -}}
{{- if kindIs "string" $given }}{{ $words = splitList "," $given -}}
{{- else if kindIs "slice" $given }}{{ $words = $given -}}
{{- else if $given -}}
{{- fail (printf "skipResource is %v: it is a text or a list of profiles, policies and secrets, as in --set skipResource=\"profiles\\,policies\"" $given) -}}
{{- end -}}
{{- $known := dict "profile" "profiles" "profiles" "profiles" "policy" "policies" "policies" "policies" "secret" "secrets" "secrets" "secrets" -}}
{{- $skipped := list -}}
{{- range $words -}}
{{- $word := lower (trim (toString .)) -}}
{{- if $word -}}
{{- $found := get $known $word -}}
{{- if not $found -}}
{{- fail (printf "skipResource names %q, which cannot be skipped: known are profiles, policies and secrets, as in --set skipResource=\"profiles\\,policies\"" (toString .)) -}}
{{- end -}}
{{- $skipped = append $skipped $found -}}
{{- end -}}
{{- end -}}
{{- join "," (uniq $skipped) -}}
{{- end }}

{{- define "k10restore.pointInTime" -}}
{{- $given := .Values.pointInTime -}}
{{- if $given -}}
{{- $date := "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])" -}}
{{- $time := "([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\\.[0-9]{1,9})?" -}}
{{- $zone := "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])" -}}
{{- if not (regexMatch (printf "^%sT%s%s$" $date $time $zone) (toString $given)) -}}
{{- fail (printf "pointInTime is %q: it is a second in RFC 3339, with date, time and zone, as in --set pointInTime=\"2022-01-02T15:04:05Z\"" (toString $given)) -}}
{{- end -}}
{{- $given -}}
{{- end -}}
{{- end }}

{{/* Minutes, as many as a KastenDRRestore takes. A number of a values file is a float for Helm. */}}
{{- define "k10restore.timeout" -}}
{{- $given := "" -}}
{{- if kindIs "map" .Values.restore }}{{ $given = .Values.restore.timeout }}{{ end -}}
{{- $text := ternary "" (toString $given) (kindIs "invalid" $given) -}}
{{- if kindIs "float64" $given }}{{ $text = printf "%.15g" $given }}{{ end -}}
{{- if not (and (or (kindIs "float64" $given) (kindIs "int64" $given) (kindIs "int" $given)) (regexMatch "^[1-9][0-9]{0,4}$" $text) (le (int64 $text) 10080)) -}}
{{- fail (printf "restore.timeout is %q: it is a whole number of minutes from 1 to 10080, which is a week, and no text, as in --set restore.timeout=90" $text) -}}
{{- end -}}
{{- $text -}}
{{- end }}

{{- define "k10restore.checkQuickMode" -}}
{{- if and .Values.quickMode.enabled (not .Values.quickMode.overrideResources) -}}
{{- fail "quickMode.enabled without quickMode.overrideResources: a quick restore creates or replaces resources of this cluster, and overrideResources is your confirmation of that; add --set quickMode.overrideResources=true" -}}
{{- end -}}
{{- end }}

{{- define "k10restore.checkVault" -}}
{{- $vault := .Values.vault -}}
{{- if and $vault.enabled (not $vault.address) -}}
{{- fail "vault.enabled without vault.address: name the server, as in --set vault.address=https://vault.example.com:8200" -}}
{{- end -}}
{{- if and $vault.enabled (not (or $vault.role $vault.secretName)) -}}
{{- fail "vault.enabled without vault.role and vault.secretName: say how to sign in, with --set vault.role=<role> by the account of the pods, or with --set vault.secretName=<Secret that has the key vault_token>" -}}
{{- end -}}
{{- end }}
