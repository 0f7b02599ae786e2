{{/* The models of the profile in their pools, as a JSON list of name, key, model, pool, place and target. */}}
{{- define "longvideo.instances" -}}
{{- $found := list -}}
{{- range $key, $own := .Values.models -}}
{{- $model := mergeOverwrite (deepCopy $.Values.modelDefaults) (deepCopy $own) -}}
{{- if has $.Values.profile $model.profiles -}}
{{- range $pool, $differs := $.Values.pools -}}
{{- if or (not $model.pools) (hasKey $model.pools $pool) -}}
{{- $counts := mergeOverwrite (pick $model "replicas" "minReplicas" "maxReplicas") (deepCopy (get $model.pools $pool | default dict)) -}}
{{- $place := mergeOverwrite (deepCopy $.Values.poolDefaults) (deepCopy $differs) -}}
{{- $name := printf "%s-%s-%s" (include "longvideo.fullname" $) $key $pool -}}
{{- $found = append $found (dict "name" $name "key" $key "model" $model "pool" $pool "place" $place "counts" $counts) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The model servers as the setting `endpoints` wants them, as a JSON list. */}}
{{- define "longvideo.endpoints" -}}
{{- $found := list -}}
{{- if eq .Values.profile "offline" -}}
{{- $url := printf "http://%s:8200/v1" (include "longvideo.host" (dict "root" . "component" "offline-models")) -}}
{{- range $role, $model := dict "reason" "offline-reasoner" "caption" "offline-captioner" "qa" "offline-qa" -}}
{{- $found = append $found (dict "url" $url "model" $model "roles" (list $role) "pool" "cpu") -}}
{{- end -}}
{{- else if eq .Values.profile "external" -}}
{{- range $name, $server := .Values.externalModels -}}
{{- $endpoint := omit $server "contextLength" "structuredOutput" -}}
{{- if hasKey $server "contextLength" }}{{ $_ := set $endpoint "context_length" $server.contextLength }}{{ end -}}
{{- if hasKey $server "structuredOutput" }}{{ $_ := set $endpoint "structured_output" $server.structuredOutput }}{{ end -}}
{{- $found = append $found $endpoint -}}
{{- end -}}
{{- else -}}
{{- $port := ternary ":8080" "" .Values.serving.headlessServices -}}
{{- range include "longvideo.instances" . | fromJsonArray -}}
{{- $url := printf "http://%s-predictor.%s.svc.%s%s/v1" .name $.Release.Namespace $.Values.clusterDomain $port -}}
{{- $found = append $found (dict "url" $url "model" .model.servedName "roles" .model.roles "pool" .pool "gpus" .model.gpus "context_length" .model.maxModelLen "priority" true) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}
