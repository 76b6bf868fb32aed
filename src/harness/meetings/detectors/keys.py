"""Keys and tokens that open something: no masking is enough, a turn with one is not used."""

import re

_KEYS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_\w{40,}"
    r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bxapp-\d-[A-Za-z0-9-]{10,}"
    r"|\bsk-[A-Za-z0-9_-]{20,}|\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|\bAIza[A-Za-z0-9_-]{35}|\bGOCSPX-[A-Za-z0-9_-]{20,}|\bya29\.[A-Za-z0-9_-]{20,}"
    r"|\beyJ[A-Za-z0-9_-]{8,500}\.[A-Za-z0-9_-]{8}[A-Za-z0-9_.-]*"
    r"|\bgl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat|ffct)-[A-Za-z0-9_-]{20,}"
    r"|\bnpm_[A-Za-z0-9]{36}|\bpypi-[A-Za-z0-9_-]{50,}|\bhf_[A-Za-z0-9]{30,}"
    r"|\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|\bdop_v1_[0-9a-f]{64}|\bshpat_[0-9a-f]{32}"
)
"""Private keys in PEM; AWS, GitHub, Slack, OpenAI and Stripe, Google, JSON Web Tokens, GitLab, npm,
PyPI, Hugging Face, SendGrid, DigitalOcean, Shopify."""


def places(text: str) -> list[tuple[int, int]]:
    """Where keys stand in a text: first character, and the one after the last."""
    return [match.span() for match in _KEYS.finditer(text)]
