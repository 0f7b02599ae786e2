{{/* Refuses values that contradict each other. Each message names the value and the fix. */}}
{{- define "longvideo.validate" -}}
{{- if not .Values.database.existingSecret }}{{ fail "database.existingSecret is empty: name a secret whose key `url` holds PostgreSQL's URL" }}{{ end -}}
{{- if not .Values.broker.existingSecret }}{{ fail "broker.existingSecret is empty: name a secret whose key `url` holds Redis' URL" }}{{ end -}}
{{- if not .Values.objectStore.url }}{{ fail "objectStore.url is empty: give the bucket, s3://bucket/prefix?endpoint=https://host:9000" }}{{ end -}}
{{- if and .Values.tls.enabled (not .Values.tls.existingSecret) (not .Values.tls.issuer.name) -}}
{{- fail "tls.enabled is true, and there is no certificate: set tls.existingSecret or tls.issuer.name, or tls.enabled=false where a service mesh encrypts" -}}
{{- end -}}
{{- if and .Values.tls.existingSecret .Values.tls.issuer.name }}{{ fail "tls.existingSecret and tls.issuer.name are both set: set one of them" }}{{ end -}}
{{- with .Values.api.tls -}}
{{- if and (or .existingSecret .issuer.name) (not $.Values.tls.enabled) }}{{ fail "api.tls has a certificate, but tls.enabled is false: enable it" }}{{ end -}}
{{- if and .existingSecret .issuer.name }}{{ fail "api.tls.existingSecret and api.tls.issuer.name are both set: set one of them" }}{{ end -}}
{{- if and (or .existingSecret .issuer.name) (not .hosts) }}{{ fail "api.tls.hosts is empty: list the names that the API's own certificate is for" }}{{ end -}}
{{- end -}}
{{- if and (has .Values.profile (list "qwen3" "qwen2.5")) (not .Values.pools) -}}
{{- fail (printf "profile is %s, and pools is empty: name at least one kind of GPU node, such as pools.h800.nodeSelector" .Values.profile) -}}
{{- end -}}
{{- $instances := include "longvideo.instances" . | fromJsonArray -}}
{{- range $instance := $instances -}}
{{- if not .model.storageUri }}{{ fail (printf "models.%s.storageUri is empty: say where its weights are, hf://…, s3://…, pvc://…, or oci://…" .key) }}{{ end -}}
{{- if not .model.servedName }}{{ fail (printf "models.%s.servedName is empty: give the name that requests carry" .key) }}{{ end -}}
{{- if not .model.roles }}{{ fail (printf "models.%s.roles is empty: say what it is used for, reason, caption, or qa" .key) }}{{ end -}}
{{- with .counts -}}
{{- if gt (int .minReplicas) (int .maxReplicas) }}{{ fail (printf "models.%s has more minReplicas than maxReplicas in pool %s: raise maxReplicas" $instance.key $instance.pool) }}{{ end -}}
{{- if gt (int .officeReplicas) (int .maxReplicas) }}{{ fail (printf "models.%s has more officeReplicas than maxReplicas in pool %s: raise maxReplicas" $instance.key $instance.pool) }}{{ end -}}
{{- if eq (int .minReplicas) 0 -}}
{{- range $other := $instances -}}
{{- range $other.model.roles -}}
{{- if and (ne $other.name $instance.name) (eq $other.pool $instance.pool) (has . $instance.model.roles) -}}
{{- fail (printf "models.%s has minReplicas 0 in pool %s, where models.%s has the role %s too, and callers cannot tell whom they wait for: set minReplicas to 1, or give one of them other pools" $instance.key $instance.pool $other.key .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt (len .name) 53 }}{{ fail (printf "the name %s has more than 53 characters: shorten the release, models.%s or pools.%s" .name .key .pool) }}{{ end -}}
{{- end -}}
{{- range $key, $model := .Values.models -}}
{{- range $pool, $_ := ($model).pools -}}
{{- if not (hasKey $.Values.pools $pool) }}{{ fail (printf "models.%s.pools names %s, which is not in pools: add it there" $key $pool) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $roles := list -}}
{{- $weighted := list -}}
{{- range include "longvideo.endpoints" . | fromJsonArray -}}
{{- $roles = concat $roles .roles -}}
{{- if ne (toString .weight) "0" }}{{ $weighted = concat $weighted .roles }}{{ end -}}
{{- end -}}
{{- range $role := list "reason" "caption" "qa" -}}
{{- if and (has $role $roles) (not (has $role $weighted)) }}{{ fail (printf "every model with the role %s has the weight 0, so that requests which name no pool have none: give one of them a weight" $role) }}{{ end -}}
{{- if not (has $role $roles) }}{{ fail (printf "no model has the role %s: give it to one of %s" $role (ternary "externalModels" "models" (eq $.Values.profile "external"))) }}{{ end -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not .Values.autoscaling.prometheusAddress) -}}
{{- fail "autoscaling.enabled is true, and autoscaling.prometheusAddress is empty: give the URL of the Prometheus with our metrics and vLLM's" -}}
{{- end -}}
{{- range $component := list "worker" "caption" "qa" -}}
{{- with (get $.Values $component).autoscaling -}}
{{- if gt (int .minReplicas) (int .maxReplicas) }}{{ fail (printf "%s.autoscaling has more minReplicas than maxReplicas: raise maxReplicas" $component) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.worker.autoscaling.targetEpisodes) (int .Values.settings.episode_concurrency)) -}}
{{- fail (printf "worker.autoscaling.targetEpisodes is more than settings.episode_concurrency, %d, so that episodes would wait for a worker that never comes: lower it, or raise the other" (int .Values.settings.episode_concurrency)) -}}
{{- end -}}
{{- if and .Values.prices.gpuHours (not .Values.prices.currency) }}{{ fail "prices.gpuHours is set, and prices.currency is empty: say in which currency, such as EUR" }}{{ end -}}
{{- if and .Values.prices.alone (not .Values.prices.gpuHours) }}{{ fail "prices.alone is set, and prices.gpuHours is empty: a price book needs prices" }}{{ end -}}
{{- with .Values.monitoring.traces -}}
{{- if and (or .models .content .existingSecret) (not .endpoint) }}{{ fail "monitoring.traces.endpoint is empty: name the collector that traces are sent to, https://host:4317" }}{{ end -}}
{{- if and (or .content .existingSecret) (hasPrefix "http://" .endpoint) $.Values.tls.enabled (eq $.Values.auth "tokens") -}}
{{- fail "monitoring.traces.endpoint has no TLS, and others could read what goes there: use https://, or leave out monitoring.traces.content and existingSecret" -}}
{{- end -}}
{{- end -}}
{{- with .Values.ingress -}}
{{- if .enabled -}}
{{- if not .hosts }}{{ fail "ingress.hosts is empty: list the names that clients use" }}{{ end -}}
{{- if and $.Values.networkPolicy.enabled (not .from) -}}
{{- fail "ingress.from is empty: say whose pods the traffic comes from, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: envoy-gateway-system}}}]" -}}
{{- end -}}
{{- if and (ne .kind "Ingress") (not .gateway.name) }}{{ fail (printf "ingress.gateway.name is empty: a %s needs a Gateway, or set ingress.kind=Ingress" .kind) }}{{ end -}}
{{- if and (eq .kind "TLSRoute") (not $.Values.tls.enabled) }}{{ fail "ingress.kind is TLSRoute, but tls.enabled is false: enable it, or set ingress.kind=GRPCRoute" }}{{ end -}}
{{- range .hosts -}}
{{- if and (eq $.Values.ingress.kind "TLSRoute") (not (has . $.Values.api.tls.hosts)) }}{{ fail (printf "ingress.hosts names %s, which the API's certificate is not for: add it to api.tls.hosts" .) }}{{ end -}}
{{- end -}}
{{- if and (eq .kind "GRPCRoute") $.Values.tls.enabled (not .authority.name) (not (include "longvideo.apiTlsSecret" $)) -}}
{{- fail "ingress.authority.name is empty: name the ConfigMap whose ca.crt signs the services' certificates, or pass TLS on with ingress.kind=TLSRoute" -}}
{{- end -}}
{{- if and (eq .kind "Ingress") (not .tls.existingSecret) (not .tls.issuer.name) }}{{ fail "ingress.kind is Ingress, and there is no certificate for clients: set ingress.tls.existingSecret or ingress.tls.issuer.name" }}{{ end -}}
{{- if and .tls.existingSecret .tls.issuer.name }}{{ fail "ingress.tls.existingSecret and ingress.tls.issuer.name are both set: set one of them" }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with .Values.llmInferenceService -}}
{{- if .enabled -}}
{{- if not (has $.Values.profile (list "qwen3" "qwen2.5")) }}{{ fail (printf "llmInferenceService.enabled is true, but the profile %s has no models that KServe serves: disable it" $.Values.profile) }}{{ end -}}
{{- if not .url }}{{ fail "llmInferenceService.url is empty: give the URL of the Gateway inside the cluster, such as http://kserve-ingress-gateway.kserve.svc.cluster.local" }}{{ end -}}
{{- if and $.Values.networkPolicy.enabled (not .peers) }}{{ fail "llmInferenceService.peers is empty: say where the Gateway's pods are, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kserve}}}]" }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range include "longvideo.instances" . | fromJsonArray -}}
{{- if .nodeGroup -}}
{{- if not .model.weightsSize }}{{ fail (printf "models.%s.weightsSize is empty: say how large its weights are, such as 70Gi, for localModelCache" .key) }}{{ end -}}
{{- if not .place.nodeSelector }}{{ fail (printf "pools.%s.nodeSelector is empty: say which nodes keep weights for localModelCache" .pool) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.localModelCache.enabled (not (has .Values.profile (list "qwen3" "qwen2.5"))) -}}
{{- fail (printf "localModelCache.enabled is true, but the profile %s has no models that KServe serves: disable it" .Values.profile) -}}
{{- end -}}
{{- end -}}
