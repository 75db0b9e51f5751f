"""The services of previews of web pages."""

from tim_server.app.accounts import Services
from tim_server.app.outgoing import own_tls
from tim_server.app.parts import Parts, now_ms
from tim_server.background.supervise import Loop
from tim_server.egress.web_pages import PageRules, WebPages, web_pages
from tim_server.services.fair_turns import FairTurns, OwnTurns
from tim_server.services.media.keep import MediaKeeping
from tim_server.services.shared_work import SharedWork
from tim_server.services.url_previews import preview
from tim_server.services.url_previews.expire import PreviewExpiry
from tim_server.services.url_previews.preview import PreviewPolicy, UrlPreviews
from tim_server.trust.profiles import RULES

PAGES_PER_USER_MAX = 2
ASKED_PER_USER_MAX = 20
EXPIRY_INTERVAL_S = 600.0


def url_preview_services(parts: Parts, keeping: MediaKeeping) -> Services:
    """Build them. Previews expire also where they are forbidden now. Raises `ConfigurationError`."""
    previews = _previews(parts, keeping)
    expiry = PreviewExpiry(server_name=parts.author.server_name, database=parts.store.database, now_ms=now_ms)
    return Services(
        fields={"url_previews": previews},
        closers=() if previews is None else (previews.close,),
        loops=(Loop(name="expire previews of web pages", interval_s=EXPIRY_INTERVAL_S, work=expiry.expire),),
    )


def _previews(parts: Parts, keeping: MediaKeeping) -> UrlPreviews | None:
    settings = parts.tenant.url_previews
    if not settings.enabled or not RULES[parts.tenant.trust.profile].allows_url_previews:
        return None
    return UrlPreviews(
        server_name=parts.author.server_name,
        database=parts.store.database,
        keeping=keeping,
        codec=parts.media_codec,
        pages=_pages(parts),
        policy=PreviewPolicy(
            page_bytes_max=settings.page_bytes_max,
            image_bytes_max=settings.image_bytes_max,
            pixels_max=parts.tenant.media.thumbnail_pixels_max,
            lifetime_s=settings.lifetime_s,
            kept_max=settings.kept_max,
        ),
        turns=FairTurns(
            at_once_max=settings.fetches_concurrent_max,
            of_askers=OwnTurns(per_key_max=PAGES_PER_USER_MAX, asked_max=ASKED_PER_USER_MAX),
        ),
        work=SharedWork(
            refusals=preview.REFUSALS,
            now_ms=now_ms,
            refusal_lifetime_ms=preview.REFUSAL_LIFETIME_MS,
            refusals_max=preview.REFUSALS_MAX,
        ),
        now_ms=now_ms,
    )


def _pages(parts: Parts) -> WebPages:
    settings = parts.tenant.url_previews
    rules = PageRules(
        hosts_allowed=frozenset(settings.hosts_allowed),
        hosts_denied=frozenset(settings.hosts_denied),
        ports_allowed=frozenset(settings.ports_allowed),
    )
    return web_pages(
        rules,
        timeout_s=settings.timeout_s,
        private_networks_allowed=settings.private_networks_allowed,
        tls=None if settings.ca_file is None else own_tls(settings.ca_file, "url_previews.ca_file"),
    )
