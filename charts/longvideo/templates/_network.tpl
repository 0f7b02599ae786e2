{{/* The way out to names. Takes root. */}}
{{- define "longvideo.toDns" -}}
- to:
    {{- toYaml .root.Values.networkPolicy.dns | nindent 4 }}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}

{{/* The way out to something outside the release. Takes what is under networkPolicy: to and ports. */}}
{{- define "longvideo.toOutside" -}}
{{- if .ports -}}
- ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* The way out to the models of a role. Takes root and role. */}}
{{- define "longvideo.toModels" -}}
{{- if eq .root.Values.profile "offline" -}}
{{ include "longvideo.toComponent" (dict "root" .root "to" "offline-models" "port" 8200) }}
{{- else if eq .root.Values.profile "external" -}}
{{ include "longvideo.toOutside" .root.Values.networkPolicy.externalModels }}
{{- else -}}
{{- $names := list -}}
{{- $llm := false -}}
{{- range include "longvideo.instances" .root | fromJsonArray -}}
{{- if has $.role .model.roles -}}
{{- if .llm }}{{ $llm = true }}{{ else }}{{ $names = append $names .name }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if $names -}}
- to:
    - podSelector:
        matchExpressions:
          - key: serving.kserve.io/inferenceservice
            operator: In
            values:
              {{- toYaml $names | nindent 14 }}
  ports:
    - {port: 8080, protocol: TCP}
{{ end -}}
{{- if $llm -}}
{{ include "longvideo.toOutside" (dict "to" .root.Values.llmInferenceService.peers "ports" .root.Values.llmInferenceService.ports) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The way out to a component of the release. Takes root, to and port. */}}
{{- define "longvideo.toComponent" -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "longvideo.selector" (dict "root" .root "component" .to) | nindent 10 }}
  ports:
    - {port: {{ .port }}, protocol: TCP}
{{- end -}}

{{/* The way in for components of the release. Takes root, from and port. */}}
{{- define "longvideo.fromComponents" -}}
- from:
    {{- range .from }}
    - podSelector:
        matchLabels:
          {{- include "longvideo.selector" (dict "root" $.root "component" .) | nindent 10 }}
    {{- end }}
  ports:
    - {port: {{ .port }}, protocol: TCP}
{{- end -}}

{{/* The way in for who collects metrics. Takes root and port. */}}
{{- define "longvideo.fromMonitoring" -}}
{{- with .root.Values.networkPolicy.monitoring -}}
- from:
    {{- toYaml . | nindent 4 }}
  ports:
    - {port: {{ $.port }}, protocol: TCP}
{{- end -}}
{{- end -}}

{{/* The way in for the gateway of LLMInferenceServices. Takes root and port. */}}
{{- define "longvideo.fromGateway" -}}
- from:
    {{- toYaml .root.Values.llmInferenceService.peers | nindent 4 }}
  ports:
    - {port: {{ .port }}, protocol: TCP}
{{- end -}}

{{/* What KServe labels the pods of an LLMInferenceService's scheduler with. Takes an instance. */}}
{{- define "longvideo.schedulerLabels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/component: llminferenceservice-router-scheduler
{{- end -}}

{{/* The policy of a component. Takes root, component, hook, ingress and egress: rendered rules. */}}
{{- define "longvideo.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "longvideo.metadata" . | nindent 2 }}
  {{- if .hook }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: "-10"
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
  {{- end }}
spec:
  podSelector:
    matchLabels:
      {{- include "longvideo.selector" . | nindent 6 }}
  policyTypes: ["Ingress", "Egress"]
  ingress:
    {{- range compact .ingress }}
    {{- . | nindent 4 }}
    {{- else }} []
    {{- end }}
  egress:
    {{- range compact .egress }}
    {{- . | nindent 4 }}
    {{- else }} []
    {{- end }}
{{- end -}}
