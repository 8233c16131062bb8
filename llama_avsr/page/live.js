// Live captions: the browser records, sends pieces, and shows the words that come back.
window.liveCaptions = (() => {
  const PIECE_MS = 200;
  const KINDS = [["webm", "video/webm;codecs=vp8,opus"], ["webm", "audio/webm;codecs=opus"], ["mp4", "video/mp4"]];
  let recorder = null;
  const find = (css) => document.querySelector(css);

  function show(answer) {
    const place = find("#live-captions");
    place.replaceChildren();
    for (const line of answer.fixed || []) {
      place.appendChild(Object.assign(document.createElement("span"), { className: "fixed", textContent: line + " " }));
    }
    if (answer.partial) {
      place.appendChild(Object.assign(document.createElement("span"), { className: "partial", textContent: answer.partial }));
    }
  }

  function tell(text) {
    find("#live-status").textContent = text;
  }

  async function send(id, kind, pieces, cropped, isLast) {
    const query = new URLSearchParams({ kind, cropped: cropped ? 1 : 0, last: isLast ? 1 : 0 });
    const response = await fetch(`live/${id}?${query}`, { method: "POST", body: new Blob(pieces) });
    const answer = await response.json();
    if (!response.ok || answer.error) throw new Error(answer.error || response.statusText);
    show(answer);
  }

  async function start(wantsPicture) {
    const media = { audio: true, video: wantsPicture && { frameRate: { ideal: 25 } } };
    const cropped = Boolean(find("#cropped input")?.checked);
    if (wantsPicture && !cropped) media.video.width = { ideal: 640 };
    const stream = await navigator.mediaDevices.getUserMedia(media);
    const [kind, type] = KINDS.find(([, t]) => t.startsWith(wantsPicture ? "video" : "audio") && MediaRecorder.isTypeSupported(t)) || KINDS[2];
    const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, "0")).join("");
    const waiting = [];
    let isOver = false, isSending = false;
    const pump = async () => {
      if (isSending) return;
      isSending = true;
      try {
        while (waiting.length || isOver) {
          const isLast = isOver;
          await send(id, kind, waiting.splice(0), cropped, isLast);
          if (isLast) { isOver = false; tell(""); }
        }
      } catch (error) {
        tell(error.message);
        isOver = false;
        if (recorder && recorder.state !== "inactive") recorder.stop();
      }
      isSending = false;
    };
    recorder = new MediaRecorder(stream, { mimeType: type });
    recorder.ondataavailable = (event) => { if (event.data.size) { waiting.push(event.data); pump(); } };
    recorder.onstop = () => {
      stream.getTracks().forEach((track) => track.stop());
      recorder = null; isOver = true; pump();
    };
    show({});
    recorder.start(PIECE_MS);
    tell("Recording; press again to stop.");
  }

  async function toggle(wantsPicture) {
    if (recorder) { tell("Writing the last words."); recorder.stop(); return; }
    try { await start(wantsPicture); } catch (error) { tell(`No camera or microphone: ${error.message}`); }
  }
  return { toggle };
})();
