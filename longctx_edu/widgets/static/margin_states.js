// What each event of a recording changes, by the rules of margin_states.py.

function waitingOn(segment) {
  return {
    segment, text: "", state: "waiting", kept: null, confidence: null, score: null, by: "",
  };
}

function takeEvent(state, event) {
  const one = state.margins.find((margin) => margin.segment === event.segment);
  switch (event.event) {
    case "MarginToken":
      Object.assign(one, { text: one.text + event.text, state: "writing" });
      state.cost.decoded += 1;
      break;
    case "NoteWritten":
      Object.assign(one, { text: event.text, confidence: event.confidence, state: "done" });
      break;
    case "Judged":
      one.score = event.score;
      if (one.by !== "person") Object.assign(one, { kept: event.kept, by: event.by });
      break;
    case "TokenDecoded":
      state.stage = "answering";
      state.answer_text += event.text;
      state.cost.decoded += 1;
      break;
    case "Progress":
      if (event.stage === "noting") state.progress = [event.done, event.total];
      if (event.stage === "answering") state.stage = "answering";
  }
}

// What was shown after the first `step` events; `margins` are as they were in the end.
function replayed({ margins, segments, events, step }) {
  const wrote = events.some(([, { event }]) => event === "MarginToken" || event === "NoteWritten");
  const state = {
    stage: wrote ? "writing" : "answering",
    margins: wrote ? segments.map((_, n) => waitingOn(n)) : margins.map((one) => ({ ...one })),
    answer_text: "", progress: [0, 0], cost: { decoded: 0 }, seconds: 0,
  };
  for (const [seconds, event] of events.slice(0, step)) {
    state.seconds = seconds;
    takeEvent(state, event);
  }
  return state;
}
