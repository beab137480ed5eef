/** What stands where no experiment runs. */
import { linkTo } from "../../route";

export function NoExperiment({ byFile }: { byFile: boolean }) {
  return (
    <section class="panel">
      <h2>No experiment runs</h2>
      <p>
        An experiment splits the users into arms, answers each arm from a bundle of its own, and counts what the users
        click and buy. The first arm is the control, which has the published bundle; this page then shows whether another
        arm does better, with intervals that hold however often you look.
      </p>
      <p>
        To begin, export a second bundle into the registry, set <code>RECO_LOG_IMPRESSIONS=true</code> so that the service
        knows who was shown what, and start an experiment that gives a tenth of the users the new bundle.
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
