{{/* A ScaledObject. Takes root, component, perhaps suffix, target (a Deployment), least, most, times (of autoscaling), triggers. */}}
{{- define "longvideo.scaledObject" -}}
{{- $scaling := .root.Values.autoscaling -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "longvideo.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    name: {{ .target }}
  minReplicaCount: {{ .least }}
  maxReplicaCount: {{ .most }}
  pollingInterval: {{ $scaling.pollingInterval }}
  {{- if eq (int .least) 0 }}
  cooldownPeriod: {{ $scaling.cooldownSeconds }}
  {{- end }}
  # When Prometheus does not answer there are as many as there were, and one at least.
  fallback:
    failureThreshold: {{ $scaling.failureThreshold }}
    replicas: {{ max 1 (int .least) }}
    behavior: currentReplicasIfHigher
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp:
          stabilizationWindowSeconds: {{ .times.scaleUpSeconds }}
        scaleDown:
          stabilizationWindowSeconds: {{ .times.scaleDownSeconds }}
          policies:
            - {type: Pods, value: 1, periodSeconds: {{ .times.scaleDownEverySeconds }}}
  triggers:
    {{- range .triggers }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* A trigger that asks Prometheus. Takes root, query, which has one number as its answer, and threshold, what a replica should have. */}}
{{- define "longvideo.queryTrigger" -}}
- type: prometheus
  metricType: AverageValue
  metadata:
    serverAddress: {{ .root.Values.autoscaling.prometheusAddress | quote }}
    query: {{ .query | squote }}
    threshold: {{ .threshold | toString | quote }}
    activationThreshold: "0"
    # No answer is an error, and no reason to scale in.
    ignoreNullValues: "false"
    {{- if .root.Values.autoscaling.prometheusToken.existingSecret }}
    authModes: bearer
  authenticationRef:
    name: {{ include "longvideo.fullname" .root }}-prometheus
    {{- end }}
{{- end -}}

{{/* What series of pods of the release have in common; `components` are alternatives. Takes root and components. */}}
{{- define "longvideo.ownSeries" -}}
namespace={{ .root.Release.Namespace | quote }},pod=~"{{ include "longvideo.fullname" .root }}-({{ join "|" .components }})-.+"
{{- end -}}

{{/* What there is to do for a model: what its servers say themselves, or, where it may have none, those who call it. Takes root and instance. */}}
{{- define "longvideo.modelQuery" -}}
{{- with .instance -}}
{{- if eq (int .counts.minReplicas) 0 -}}
{{- $calls := printf "%s,role=~%q,pool=%q" (include "longvideo.ownSeries" (dict "root" $.root "components" (list "worker" "caption" "qa"))) (join "|" .model.roles) .pool -}}
{{- /* Whoever found no server waits, and is not in flight meanwhile: those of the last minutes count as one. */ -}}
sum(longvideo_model_calls_in_flight{ {{- $calls -}} }) + clamp_max(sum(increase(longvideo_model_unserved_total{ {{- $calls -}} }[5m])), 1)
{{- else -}}
{{- $series := printf "namespace=%q,model_name=%q,pod=~\"%s-.+\"" $.root.Release.Namespace .model.servedName .workload -}}
sum(vllm:num_requests_running{ {{- $series -}} }) + sum(vllm:num_requests_waiting{ {{- $series -}} })
{{- end -}}
{{- end -}}
{{- end -}}
