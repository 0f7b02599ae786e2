{{/* The image of vLLM. */}}
{{- define "longvideo.vllmImage" -}}
{{- with .Values.serving -}}
{{- $image := ternary (printf "%s@%s" (regexReplaceAll ":[^:/]*$" .image "") .digest) .image (ne .digest "") -}}
{{ include "longvideo.registered" (dict "root" $ "image" $image) }}
{{- end -}}
{{- end -}}

{{/* The arguments that all models have. Takes root and port. */}}
{{- define "longvideo.vllmArgs" -}}
- /mnt/models
- --host=0.0.0.0
- --port={{ .port }}
# Prompts grow at their end, round by round: what came before is computed once.
- --enable-prefix-caching
# Urgent episodes come first.
- --scheduling-policy=priority
# A caption shows its frames once; a cache of them would only take memory.
- --mm-processor-cache-gb=0
- --enable-prompt-tokens-details
- --enable-per-request-metrics
- --enable-request-id-headers
- --shutdown-timeout={{ .root.Values.serving.drainSeconds }}
- --disable-access-log-for-endpoints=/health,/metrics,/ping
{{- with .root.Values.monitoring.traces }}
{{- if .models }}
- --otlp-traces-endpoint={{ .endpoint }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The arguments of one model. Takes an instance. */}}
{{- define "longvideo.vllmModelArgs" -}}
- --served-model-name={{ .model.servedName }}
- --tensor-parallel-size={{ .model.gpus }}
- --max-model-len={{ int .model.maxModelLen }}
- --gpu-memory-utilization={{ .model.gpuMemoryUtilization }}
- --max-num-queued-reqs={{ int .model.maxQueuedRequests }}
{{- if .model.imagesPerPrompt }}
- {{ printf "--limit-mm-per-prompt={\"image\": %d}" (int .model.imagesPerPrompt) | quote }}
{{- end }}
{{- with .model.chatTemplate }}
- --chat-template=/etc/longvideo/chat-templates/{{ . }}
- --chat-template-content-format=string
{{- end }}
{{- with .model.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What a replica may take, its GPUs included. Takes an instance. */}}
{{- define "longvideo.vllmResources" -}}
{{- $gpus := dict .place.gpuResource (.model.gpus | toString) -}}
requests:
  {{- toYaml (merge (deepCopy $gpus) (.model.resources.requests | default dict)) | nindent 2 }}
limits:
  {{- toYaml (merge (deepCopy $gpus) (.model.resources.limits | default dict)) | nindent 2 }}
{{- end -}}

{{/* The environment of all models. */}}
{{- define "longvideo.vllmEnv" -}}
# The image's user has no home, and the root of the file system cannot be written to.
- name: HOME
  value: /tmp
- name: USER
  value: vllm
# The weights are there already: nothing is fetched, and nobody is told.
- name: HF_HUB_OFFLINE
  value: "1"
- name: VLLM_NO_USAGE_STATS
  value: "1"
{{- if .Values.modelKeys.existingSecret }}
- name: VLLM_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.modelKeys.existingSecret }}
      key: {{ .Values.modelKeys.key }}
{{- end }}
{{- with .Values.serving.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The probes of all models. Takes root and port. */}}
{{- define "longvideo.vllmProbes" -}}
# The server listens once the model is loaded.
startupProbe:
  httpGet: {path: /health, port: {{ .port }}, scheme: HTTP}
  periodSeconds: 10
  failureThreshold: {{ div .root.Values.serving.loadSeconds 10 }}
readinessProbe:
  httpGet: {path: /health, port: {{ .port }}, scheme: HTTP}
  periodSeconds: 5
  timeoutSeconds: 5
livenessProbe:
  httpGet: {path: /health, port: {{ .port }}, scheme: HTTP}
  periodSeconds: 15
  timeoutSeconds: 15
  failureThreshold: 6
{{- end -}}

{{/* Where a model's pods run, and how they end and are spread. Takes root and instance. */}}
{{- define "longvideo.vllmPod" -}}
{{- $values := .root.Values -}}
terminationGracePeriodSeconds: {{ add $values.serving.drainSeconds 30 }}
serviceAccountName: {{ $values.serving.serviceAccountName | default (printf "%s-vllm" (include "longvideo.fullname" .root)) }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "longvideo.podSecurity" .root | nindent 2 }}
{{- with .instance.place.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .instance.place.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .instance.place.priorityClassName | default (ternary (printf "%s-models" (include "longvideo.clusterName" .root)) "" $values.priorityClasses.enabled) }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- toYaml .instance.podLabels | nindent 8 }}
{{- end -}}
