{{/* The models of the profile in their pools, as a JSON list of name, key, model, pool, place and counts; of llm, whether it is
an LLMInferenceService; of what KServe makes of it: workload, a Deployment's name, podLabels, port and url; and nodeGroup, which keeps its weights. */}}
{{- define "longvideo.instances" -}}
{{- $found := list -}}
{{- range $key, $own := .Values.models -}}
{{- $model := mergeOverwrite (deepCopy $.Values.modelDefaults) (deepCopy $own) -}}
{{- if has $.Values.profile $model.profiles -}}
{{- range $pool, $differs := $.Values.pools -}}
{{- if or (not $model.pools) (hasKey $model.pools $pool) -}}
{{- $counts := mergeOverwrite (pick $model "replicas" "minReplicas" "maxReplicas" "officeReplicas" "weight") (deepCopy (get $model.pools $pool | default dict)) -}}
{{- $place := mergeOverwrite (deepCopy $.Values.poolDefaults) (deepCopy $differs) -}}
{{- $name := printf "%s-%s-%s" (include "longvideo.fullname" $) $key $pool -}}
{{- $instance := dict "name" $name "key" $key "model" $model "pool" $pool "place" $place "counts" $counts -}}
{{- if and $.Values.llmInferenceService.enabled (eq (join " " $model.roles) "reason") -}}
{{- $instance = merge $instance (dict
  "llm" true "workload" (printf "%s-kserve" $name) "port" 8000
  "podLabels" (dict "app.kubernetes.io/name" $name "kserve.io/component" "workload")
  "url" (printf "%s/%s/%s/v1" (trimSuffix "/" $.Values.llmInferenceService.url) $.Release.Namespace $name)
) -}}
{{- else -}}
{{- $instance = merge $instance (dict
  "llm" false "workload" (printf "%s-predictor" $name) "port" 8080
  "podLabels" (dict "serving.kserve.io/inferenceservice" $name)
  "url" (printf "http://%s-predictor.%s.svc.%s%s/v1" $name $.Release.Namespace $.Values.clusterDomain (ternary ":8080" "" $.Values.serving.headlessServices))
) -}}
{{- end -}}
{{- $cached := and $.Values.localModelCache.enabled (not $instance.llm) (regexMatch "^(hf|s3|gs|https?)://" $model.storageUri) -}}
{{- $found = append $found (set $instance "nodeGroup" (ternary (printf "%s-%s" (include "longvideo.clusterName" $) $pool) "" $cached)) -}}
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
{{- range include "longvideo.instances" . | fromJsonArray -}}
{{- $found = append $found (dict "url" .url "model" .model.servedName "roles" .model.roles "pool" .pool "gpus" .model.gpus "context_length" .model.maxModelLen "priority" true "weight" .counts.weight) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}
