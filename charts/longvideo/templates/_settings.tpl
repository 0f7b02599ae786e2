{{/* What the settings file holds. JSON's scalars and lists of them are TOML too. */}}
{{- define "longvideo.settings" -}}
{{- $secure := and .Values.tls.enabled (eq .Values.auth "tokens") -}}
{{- $computed := dict
  "data_dir" "/tmp/longvideo"
  "object_store" .Values.objectStore.url
  "auth" .Values.auth
  "insecure" (not $secure)
  "api_listen" "0.0.0.0:7700"
  "caption_listen" "0.0.0.0:7701"
  "qa_listen" "0.0.0.0:7702"
  "metrics_listen" "0.0.0.0:9464"
  "caption_address" (printf "%s:7701" (include "longvideo.host" (dict "root" . "component" "caption")))
  "qa_address" (printf "%s:7702" (include "longvideo.host" (dict "root" . "component" "qa")))
-}}
{{- if .Values.tls.enabled -}}
{{- range $setting, $file := dict "tls_cert" "tls.crt" "tls_key" "tls.key" "tls_ca" "ca.crt" -}}
{{- $_ := set $computed $setting (printf "/etc/longvideo/tls/%s" $file) -}}
{{- end -}}
{{- end -}}
{{- if .Values.prices.prometheusAddress -}}
{{- $_ := set $computed "prometheus_url" .Values.prices.prometheusAddress -}}
{{- $_ := set $computed "prometheus_namespace" .Release.Namespace -}}
{{- end -}}
{{- if .Values.prices.gpuHours -}}
{{- $_ := set $computed "price_book" "/etc/longvideo/settings/prices.toml" -}}
{{- end -}}
{{- if .Values.promptPack.existingConfigMap -}}
{{- $_ := set $computed "prompt_pack" (printf "/etc/longvideo/prompts/%s" .Values.promptPack.key) -}}
{{- end -}}
{{- with .Values.monitoring.traces -}}
{{- if .endpoint }}{{ $_ := merge $computed (dict "otlp_endpoint" .endpoint "trace_sample_ratio" .sampleRatio "trace_content" .content) }}{{ end -}}
{{- end -}}
# Made by the chart. docs/settings.md says what each line means.
{{- range $name, $value := merge $computed .Values.settings }}
{{ $name }} = {{ toJson $value }}
{{- end }}
{{- range include "longvideo.endpoints" . | fromJsonArray }}

[[endpoints]]
{{- range $name, $value := . }}
{{ $name }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What the price book holds; empty where there are no prices. */}}
{{- define "longvideo.prices" -}}
{{- if .Values.prices.gpuHours -}}
# Made by the chart. docs/costs.md says what each line means.
currency = {{ toJson .Values.prices.currency }}
{{- range $pool, $prices := .Values.prices.gpuHours }}
{{- range $from, $price := $prices }}

[[prices]]
pool = {{ toJson $pool }}
gpu_hour = {{ toJson $price.price }}
valid_from = {{ toJson $from }}
source = {{ toJson $price.source }}
{{- end }}
{{- end }}
{{- range .Values.prices.alone }}

[[alone]]
{{- range $name, $value := . }}
{{ $name }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}
