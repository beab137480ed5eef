/** What stands where no experiment runs. */
import { useLoaded } from "../../api";
import { linkTo } from "../../route";
import { loadQuality } from "./loading";

const DAY_S = 86_400;

export function NoExperiment({ byFile }: { byFile: boolean }) {
  const quality = useLoaded(() => loadQuality(Date.now() / 1_000 - DAY_S), []);
  if (quality.data === null && quality.problem === null) return <p role="status">Loading …</p>;
  const isLogged = (quality.data?.overall.answers ?? 0) > 0;
  return (
    <section class="panel">
      <h2>No experiment runs</h2>
      <p>
        An experiment splits the users into arms, answers each arm from a bundle of its own, and counts what the users
        click and buy. The first arm is the control, which has the published bundle; this page then shows whether another
        arm does better, with intervals that hold however often you look.
      </p>
      <p>
        To begin, export a second bundle into the registry,{" "}
        {!isLogged && (
          <>
            set <code>RECO_LOG_IMPRESSIONS=true</code> so that the service knows who was shown what (the log has no list of
            the last 24 hours),{" "}
          </>
        )}
        and start an experiment that gives a tenth of the users the new bundle.
      </p>
      {!byFile && (
        <p>
          <a class="button primary" href={linkTo("experiments", "", { show: "new" })}>
            Start an experiment
          </a>
        </p>
      )}
    </section>
  );
}
