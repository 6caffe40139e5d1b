// @ts-check
// The frame of administration: sections that the signed-in person's roles open.

import { cx, html } from "../dom.js";
import { t } from "../i18n.js";
import { sections } from "../shapes.js";
import { store } from "../state.js";
import { useStore } from "../store.js";
import { ApprovalsPage, WaitingCount } from "./approvals.js";
import { AreasPage } from "./areas.js";
import { CamerasPage } from "./cameras.js";
import { DepartmentsPage, TokensPage } from "./departments.js";
import { HoldsPage } from "./holds.js";
import { IncidentsPage, PullsPage } from "./incidents.js";
import { LinksPage } from "./links.js";
import { NodePage } from "./node.js";
import { AuditPage, RegisterPage } from "./records.js";
import { RetentionPage } from "./retention.js";
import { SealsPage } from "./seals.js";
import { SessionsPage } from "./sessions.js";
import { ShiftsPage } from "./shifts.js";
import { UsersPage } from "./users.js";

/** @type {Record<string, any>} */
const PAGES = {
  cameras: CamerasPage, areas: AreasPage, departments: DepartmentsPage, tokens: TokensPage, users: UsersPage, sessions: SessionsPage, shifts: ShiftsPage, links: LinksPage, retention: RetentionPage,
  holds: HoldsPage, approvals: ApprovalsPage, incidents: IncidentsPage, pulls: PullsPage, register: RegisterPage, seals: SealsPage, audit: AuditPage, node: NodePage,
};

/** @param {{section: string}} props */
export function AdminView({ section }) {
  const session = useStore(store, (s) => s.session);
  useStore(store, (s) => s.language);
  const open = sections(session);
  const shown = open.includes(section) ? section : open[0];
  const Shown = PAGES[shown];
  return html`<main class="admin"><nav class="admin-nav" aria-label=${t("view.admin")}>${open.map((name) => html`<button key=${name} type="button" data-section=${name} class=${cx(name === shown && "on")} aria-current=${name === shown ? "page" : null}
    onClick=${() => store.set({ view: name })}>${t(`admin.${name}`)}${name === "approvals" && html` <${WaitingCount} />`}</button>`)}</nav><div class="admin-body">${Shown ? html`<${Shown} key=${shown} />` : null}</div></main>`;
}
