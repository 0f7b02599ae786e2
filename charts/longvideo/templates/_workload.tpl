{{/* What the pods and containers of all components must not do: the restricted Pod Security Standard. */}}
{{- define "longvideo.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "longvideo.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end -}}

{{/* The secrets that a component reads, as a JSON list of the setting, the secret and its key. Takes root and secrets. */}}
{{- define "longvideo.secrets" -}}
{{- $values := .root.Values -}}
{{- $known := dict
  "database" (list (dict "setting" "database_url" "secret" $values.database.existingSecret "key" $values.database.key))
  "broker" (list (dict "setting" "broker_url" "secret" $values.broker.existingSecret "key" $values.broker.key))
  "objectStore" (list
    (dict "setting" "s3_access_key" "secret" $values.objectStore.existingSecret "key" $values.objectStore.accessKeyKey)
    (dict "setting" "s3_secret_key" "secret" $values.objectStore.existingSecret "key" $values.objectStore.secretKeyKey))
  "models" (list (dict "setting" "api_key" "secret" $values.modelKeys.existingSecret "key" $values.modelKeys.key))
  "collector" (list (dict "setting" "otlp_headers" "secret" $values.monitoring.traces.existingSecret "key" $values.monitoring.traces.key))
-}}
{{- $found := list -}}
{{- range .secrets }}{{ range get $known . }}{{ if .secret }}{{ $found = append $found . }}{{ end }}{{ end }}{{ end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The names of all secrets that pods of the release read, as a JSON list. */}}
{{- define "longvideo.readSecrets" -}}
{{- $found := list -}}
{{- range include "longvideo.secrets" (dict "root" . "secrets" (list "database" "broker" "objectStore" "models")) | fromJsonArray -}}
{{- $found = append $found .secret -}}
{{- end -}}
{{- if .Values.tls.enabled }}{{ $found = append $found (include "longvideo.tlsSecret" .) }}{{ end -}}
{{- with include "longvideo.apiTlsSecret" . }}{{ $found = append $found . }}{{ end -}}
{{- $found | uniq | toJson -}}
{{- end -}}

{{/* A pod of a component; those that read the settings file tell their metrics. Takes root, component, values, command, secrets, and perhaps settings, tls, apiTls, port,
portName, env, liveness, readiness, and restartPolicy. */}}
{{- define "longvideo.podTemplate" -}}
{{- $root := .root -}}
{{- $pod := mergeOverwrite (deepCopy $root.Values.pod) (deepCopy .values.pod) -}}
{{- $secrets := include "longvideo.secrets" (dict "root" $root "secrets" .secrets) | fromJsonArray -}}
metadata:
  labels:
    {{- include "longvideo.labels" . | nindent 4 }}
    {{- with $pod.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: {{ .component }}
    {{- if .settings }}
    checksum/settings: {{ print (include "longvideo.settings" $root) (include "longvideo.prices" $root) | sha256sum }}
    {{- end }}
    {{- with $pod.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "longvideo.fullname" $root }}-{{ .component }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ add $root.Values.settings.grace_seconds 20 }}
  securityContext:
    {{- include "longvideo.podSecurity" . | nindent 4 }}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.priorityClassName | default (ternary (printf "%s-processes" (include "longvideo.clusterName" $root)) "" (and $root.Values.priorityClasses.enabled (not .restartPolicy))) }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $pod.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.topologyKeys }}
  topologySpreadConstraints:
    {{- range . }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "longvideo.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "longvideo.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      command: {{ toJson .command }}
      securityContext:
        {{- include "longvideo.containerSecurity" . | nindent 8 }}
      env:
        - name: HOME
          value: /tmp
        {{- if .settings }}
        - name: LONGVIDEO_SETTINGS_FILE
          value: /etc/longvideo/settings/settings.toml
        {{- end }}
        {{- range $secrets }}
        - name: LONGVIDEO_{{ upper .setting }}_FILE
          value: /etc/longvideo/secrets/{{ .setting }}
        {{- end }}
        {{- range $name, $value := .env }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
        {{- with $pod.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if or .port .liveness }}
      ports:
        {{- with .port }}
        - name: {{ $.portName }}
          containerPort: {{ . }}
        {{- end }}
        {{- if .settings }}
        - name: metrics
          containerPort: 9464
        {{- end }}
      {{- end }}
      {{- with .liveness }}
      startupProbe:
        {{- toYaml . | nindent 8 }}
        periodSeconds: 5
        timeoutSeconds: 10
        failureThreshold: 36
      livenessProbe:
        {{- toYaml . | nindent 8 }}
        periodSeconds: 30
        timeoutSeconds: 15
        failureThreshold: 4
      {{- end }}
      {{- with .readiness }}
      readinessProbe:
        {{- toYaml . | nindent 8 }}
        periodSeconds: 15
        timeoutSeconds: 15
      {{- end }}
      resources:
        {{- toYaml .values.resources | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- if .settings }}
        - name: settings
          mountPath: /etc/longvideo/settings
          readOnly: true
        {{- if $root.Values.promptPack.existingConfigMap }}
        - name: prompts
          mountPath: /etc/longvideo/prompts
          readOnly: true
        {{- end }}
        {{- end }}
        {{- if $secrets }}
        - name: secrets
          mountPath: /etc/longvideo/secrets
          readOnly: true
        {{- end }}
        {{- if .tls }}
        - name: tls
          mountPath: /etc/longvideo/tls
          readOnly: true
        {{- end }}
        {{- if .apiTls }}
        - name: api-tls
          mountPath: /etc/longvideo/api-tls
          readOnly: true
        {{- end }}
        {{- with $pod.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- if .settings }}
    - name: settings
      configMap:
        name: {{ include "longvideo.fullname" $root }}-settings
    {{- with $root.Values.promptPack }}
    {{- if .existingConfigMap }}
    - name: prompts
      configMap:
        name: {{ .existingConfigMap }}
        items:
          - key: {{ .key }}
            path: {{ .key }}
    {{- end }}
    {{- end }}
    {{- end }}
    {{- if $secrets }}
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          {{- range $secrets }}
          - secret:
              name: {{ .secret }}
              items:
                - key: {{ .key }}
                  path: {{ .setting }}
          {{- end }}
    {{- end }}
    {{- if .tls }}
    - name: tls
      secret:
        secretName: {{ include "longvideo.tlsSecret" $root }}
        defaultMode: 0440
    {{- end }}
    {{- if .apiTls }}
    - name: api-tls
      secret:
        secretName: {{ include "longvideo.apiTlsSecret" $root }}
        defaultMode: 0440
    {{- end }}
    {{- with $pod.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* A probe that asks the process itself. Takes root, port, service, and perhaps name. */}}
{{- define "longvideo.probe" -}}
{{- $command := list "python" "-m" "longvideo.health" (printf "127.0.0.1:%v" .port) -}}
{{- with .service }}{{ $command = append $command . }}{{ end -}}
{{- if .root.Values.tls.enabled -}}
{{- $command = concat $command (list "--name" (.name | default (include "longvideo.host" (dict "root" .root "component" "caption")))) -}}
{{- end -}}
{{- $command = concat $command (list "--timeout" "8") -}}
exec:
  command: {{ toJson $command }}
{{- end -}}

{{/* The Deployment, service account and disruption budget of a component. Takes what the pod's template takes, and
replicas. */}}
{{- define "longvideo.deployment" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "longvideo.metadata" . | nindent 2 }}
  {{- with .values.serviceAccountAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
---
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "longvideo.metadata" . | nindent 2 }}
spec:
  {{- if not (and .root.Values.autoscaling.enabled (hasKey .values "autoscaling")) }}
  replicas: {{ .replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "longvideo.selector" . | nindent 6 }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  template:
    {{- include "longvideo.podTemplate" . | nindent 4 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "longvideo.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "longvideo.selector" . | nindent 6 }}
{{- end -}}
