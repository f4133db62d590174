"""Pod Security: what a namespace labelled `enforce: restricted` refuses.

The Pod Security Standards' profile restricted, for the one container that a pod of the stand-in
has. `baseline` is refused with 501; `warn` and `audit` are not acted on.
"""

from collections.abc import Iterator
from typing import Any

from tests.servers.kubernetes.errors import ApiError, unsupported
from tests.servers.kubernetes.objects import NAMESPACE, POD, Manifest, ObjectStore

ENFORCE = "pod-security.kubernetes.io/enforce"
_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def refuse_insecure(store: ObjectStore, pod: Manifest) -> None:
    """Refuse a pod that its namespace does not allow.

    Raises:
        ApiError: 403; 501 for a profile that the stand-in does not know.
    """
    namespace = store.get(NAMESPACE, "", pod["metadata"]["namespace"])
    profile = (namespace["metadata"].get("labels") or {}).get(ENFORCE, "privileged")
    if profile == "privileged":
        return
    if profile != "restricted":
        raise unsupported(f"{ENFORCE}: {profile}")
    found = ", ".join(_violations(pod["spec"]))
    if found:
        name = pod["metadata"].get("name") or pod["metadata"]["generateName"]
        text = f'pods "{name}" is forbidden: violates PodSecurity "restricted:latest": {found}'
        raise ApiError(403, "Forbidden", text, POD, name)


def _violations(spec: dict[str, Any]) -> Iterator[str]:
    container, shared = spec["containers"][0], spec.get("securityContext") or {}
    own, name = container.get("securityContext") or {}, container["name"]
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"host namespaces ({field}=true)"
    if any(port.get("hostPort") for port in container.get("ports") or []):
        yield f'hostPort (container "{name}" uses a hostPort)'
    for volume in spec.get("volumes") or []:
        used = {key for key in volume if key != "name"}
        if not used <= _VOLUMES:
            types = ", ".join(sorted(used - _VOLUMES))
            yield f'restricted volume types (volume "{volume["name"]}" uses {types})'
    if own.get("privileged"):
        yield f'privileged (container "{name}" must not set securityContext.privileged=true)'
    if own.get("procMount", "Default") != "Default":
        yield f'procMount (container "{name}" must not set securityContext.procMount)'
    if own.get("allowPrivilegeEscalation") is not False:
        must = "must set securityContext.allowPrivilegeEscalation=false"
        yield f'allowPrivilegeEscalation != false (container "{name}" {must})'
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        must = 'must set securityContext.capabilities.drop=["ALL"]'
        yield f'unrestricted capabilities (container "{name}" {must})'
    if set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        must = "must not include anything but NET_BIND_SERVICE in securityContext.capabilities.add"
        yield f'unrestricted capabilities (container "{name}" {must})'
    if not own.get("runAsNonRoot", shared.get("runAsNonRoot")):
        must = "must set securityContext.runAsNonRoot=true"
        yield f'runAsNonRoot != true (pod or container "{name}" {must})'
    if own.get("runAsUser", shared.get("runAsUser")) == 0:
        yield f'runAsUser=0 (pod or container "{name}" must not set runAsUser=0)'
    profile = (own.get("seccompProfile") or shared.get("seccompProfile") or {}).get("type")
    if profile not in ("RuntimeDefault", "Localhost"):
        must = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
        yield f'seccompProfile (pod or container "{name}" {must})'
    if shared.get("sysctls"):
        yield "forbidden sysctls"
