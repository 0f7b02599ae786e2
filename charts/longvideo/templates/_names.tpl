{{/* The chart's name. */}}
{{- define "longvideo.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 30 | trimSuffix "-" -}}
{{- end -}}

{{/* How the names of all objects begin. Short, for what is appended must fit into a DNS label. */}}
{{- define "longvideo.fullname" -}}
{{- $name := include "longvideo.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default ($full | trunc 30 | trimSuffix "-") .Values.fullnameOverride -}}
{{- end -}}

{{/* What a pod of a component is selected by; never changes. Takes root and component. */}}
{{- define "longvideo.selector" -}}
app.kubernetes.io/name: {{ include "longvideo.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* The labels of an object of a component. Takes root and component. */}}
{{- define "longvideo.labels" -}}
{{ include "longvideo.selector" . }}
app.kubernetes.io/part-of: longvideo
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The metadata of an object. Takes root, component and perhaps suffix, which replaces the component in its name. */}}
{{- define "longvideo.metadata" -}}
name: {{ include "longvideo.fullname" .root }}-{{ .suffix | default .component }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "longvideo.labels" . | nindent 2 }}
{{- end -}}

{{/* The metadata of an object that Prometheus or Grafana looks for by label. Takes root, component and perhaps suffix. */}}
{{- define "longvideo.monitoringMetadata" -}}
{{ include "longvideo.metadata" . }}
{{- with .root.Values.monitoring.labels }}
{{ toYaml . | indent 2 }}
{{- end }}
{{- end -}}

{{/* An image, in the registry that holds all if there is one. Takes root and image. */}}
{{- define "longvideo.registered" -}}
{{- if .root.Values.imageRegistry -}}
{{- $parts := splitList "/" .image -}}
{{- if and (gt (len $parts) 1) (regexMatch "[.:]|^localhost$" (first $parts)) }}{{ $parts = rest $parts }}{{ end -}}
{{ .root.Values.imageRegistry }}/{{ join "/" $parts }}
{{- else -}}
{{ .image }}
{{- end -}}
{{- end -}}

{{/* The image of all services. */}}
{{- define "longvideo.image" -}}
{{- with .Values.image -}}
{{- $image := ternary (printf "%s@%s" .repository .digest) (printf "%s:%s" .repository (.tag | default $.Chart.AppVersion)) (ne .digest "") -}}
{{ include "longvideo.registered" (dict "root" $ "image" $image) }}
{{- end -}}
{{- end -}}

{{/* How the names of objects of the cluster begin. */}}
{{- define "longvideo.clusterName" -}}
{{ printf "%s-%s" .Release.Namespace (include "longvideo.fullname" .) | trimPrefix "-" }}
{{- end -}}

{{/* The whole name of a Service in this namespace. Takes root and component. */}}
{{- define "longvideo.host" -}}
{{ include "longvideo.fullname" .root }}-{{ .component }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}
{{- end -}}

{{/* The secret with the certificate of all services. */}}
{{- define "longvideo.tlsSecret" -}}
{{ .Values.tls.existingSecret | default (printf "%s-tls" (include "longvideo.fullname" .)) }}
{{- end -}}

{{/* The secret with the API's own certificate; empty where it shows that of all services. */}}
{{- define "longvideo.apiTlsSecret" -}}
{{- with .Values.api.tls -}}
{{- if .existingSecret }}{{ .existingSecret }}{{ else if .issuer.name }}{{ include "longvideo.fullname" $ }}-api-tls{{ end -}}
{{- end -}}
{{- end -}}

{{/* The names that the certificate of all services is for, as a JSON list; localhost is for forwarded ports. */}}
{{- define "longvideo.tlsNames" -}}
{{- $names := list "localhost" -}}
{{- range $component := list "api" "caption" "qa" -}}
{{- $short := printf "%s-%s" (include "longvideo.fullname" $) $component -}}
{{- $names = concat $names (list (include "longvideo.host" (dict "root" $ "component" $component)) $short (printf "%s.%s" $short $.Release.Namespace) (printf "%s.%s.svc" $short $.Release.Namespace)) -}}
{{- end -}}
{{- if not (include "longvideo.apiTlsSecret" .) }}{{ $names = concat $names .Values.api.tls.hosts }}{{ end -}}
{{- toJson $names -}}
{{- end -}}

{{/* A name that the API's certificate is for: what probes and gateways expect of it. */}}
{{- define "longvideo.apiName" -}}
{{- if include "longvideo.apiTlsSecret" . }}{{ first .Values.api.tls.hosts }}{{ else }}{{ include "longvideo.host" (dict "root" . "component" "api") }}{{ end -}}
{{- end -}}

{{/* The secret with the certificate that an Ingress shows to clients. */}}
{{- define "longvideo.ingressTlsSecret" -}}
{{ .Values.ingress.tls.existingSecret | default (printf "%s-ingress-tls" (include "longvideo.fullname" .)) }}
{{- end -}}
