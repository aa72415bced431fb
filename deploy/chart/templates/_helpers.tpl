{{/*
A file of files/, which are the manifests of deploy/base and deploy/components, in the release's namespace: every place that
names the namespace, the admission policies' among them.
*/}}
{{- define "lanyard.file" -}}
{{- $text := .root.Files.Get (printf "files/%s" .name) | required (printf "files/%s is missing" .name) -}}
{{- $text | replace "namespace: lanyard-system" (printf "namespace: %s" .root.Release.Namespace) | replace "system:serviceaccount:lanyard-system:" (printf "system:serviceaccount:%s:" .root.Release.Namespace) -}}
{{- end -}}

{{/* Environment that the values ask for: a list, in JSON. */}}
{{- define "lanyard.env" -}}
{{- $env := list (dict "name" "LANYARD_CREDENTIAL" "value" .Values.credential.type) -}}
{{- with .Values.azure.cloud }}{{ $env = append $env (dict "name" "AZURE_CLOUD" "value" .) }}{{ end -}}
{{- with .Values.azure.resourceManagerEndpoint }}{{ $env = append $env (dict "name" "AZURE_RESOURCE_MANAGER_ENDPOINT" "value" .) }}{{ end -}}
{{- if eq .Values.credential.type "client-secret" -}}
{{- $secret := .Values.credential.secretName -}}
{{- range $name, $key := dict "AZURE_TENANT_ID" "tenant-id" "AZURE_CLIENT_ID" "client-id" "AZURE_CLIENT_SECRET" "client-secret" -}}
{{- $env = append $env (dict "name" $name "valueFrom" (dict "secretKeyRef" (dict "name" $secret "key" $key))) -}}
{{- end -}}
{{- else if ne .Values.credential.type "workload-identity" -}}
{{- with .Values.azure.tenantId }}{{ $env = append $env (dict "name" "AZURE_TENANT_ID" "value" .) }}{{ end -}}
{{- with .Values.azure.clientId }}{{ $env = append $env (dict "name" "AZURE_CLIENT_ID" "value" .) }}{{ end -}}
{{- end -}}
{{- if eq .Values.credential.type "client-certificate" -}}
{{- $env = append $env (dict "name" "AZURE_CLIENT_CERTIFICATE_PATH" "value" "/certificate/client.pem") -}}
{{- end -}}
{{- if .Values.trustedAuthorities -}}
{{- $env = append $env (dict "name" "SSL_CERT_FILE" "value" "/authorities/ca.pem") -}}
{{- end -}}
{{- concat $env .Values.extraEnv | toJson -}}
{{- end -}}

{{/* The image, by digest where there is one. */}}
{{- define "lanyard.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}
