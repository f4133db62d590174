"""Rights: what a service account may do by the Roles bound to it in a namespace.

Only service accounts with a kubeconfig of their own are held to them, as a pod would be by its
token; whoever has the cluster's own kubeconfig may do everything. ClusterRoles do not exist here.
"""

from tests.servers.kubernetes.errors import ApiError
from tests.servers.kubernetes.objects import ROLE, ROLE_BINDING, Manifest, ObjectStore
from tests.servers.kubernetes.routes import Target


def refuse_forbidden(store: ObjectStore, account: tuple[str, str], target: Target) -> None:
    """Refuse what no Role allows.

    Args:
        store: with Roles and their bindings.
        account: namespace and name of the service account.
        target: what it asks for.

    Raises:
        ApiError: 403.
    """
    with store.changed:
        bindings = store.live(ROLE_BINDING, target.namespace) if target.namespace else []
        for binding in bindings:
            role = store.find(ROLE, target.namespace or "", binding["roleRef"]["name"])
            if role is not None and _is_bound(binding, account) and _allows(role, target):
                return
    user = f"system:serviceaccount:{account[0]}:{account[1]}"
    where = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
    what = f'cannot {target.verb} resource "{target.resource}" in API group "{target.kind.group}"'
    subject = f'{target.kind.qualified} "{target.name}"' if target.name else target.kind.qualified
    text = f'{subject} is forbidden: User "{user}" {what} {where}'
    raise ApiError(403, "Forbidden", text, target.kind, target.name)


def _is_bound(binding: Manifest, account: tuple[str, str]) -> bool:
    home = binding["metadata"]["namespace"]
    return any(
        subject["kind"] == "ServiceAccount"
        and (subject.get("namespace", home), subject["name"]) == account
        for subject in binding.get("subjects") or []
    )


def _allows(role: Manifest, target: Target) -> bool:
    return any(
        target.verb in rule["verbs"]
        and target.kind.group in rule.get("apiGroups", [])
        and target.resource in rule.get("resources", [])
        and (not rule.get("resourceNames") or target.name in rule["resourceNames"])
        for rule in role.get("rules") or []
    )
