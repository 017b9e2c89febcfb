// Runs before require.js and embed-amd.js on pages with widgets (nb_ipywidgets_js in _config.yml).
(function () {
  var base = document.currentScript.src.replace(/[^/]*$/, "") + "vendor/widgets/";

  // All modules are inside embed-amd.js, which takes the folder of its icon fonts from each
  // module's address: without these paths it would ask a CDN for them.
  var paths = {};
  ["base", "controls", "base7", "controls7", "html-manager", "html-manager/dist/libembed-amd"].forEach(
    function (name) {
      paths["@jupyter-widgets/" + name] = base + name.replace(/\W/g, "-");
    }
  );
  window.require = { paths: paths };

  // ipywidgets still calls the MathJax 2 API; give MathJax 3 that one entry point.
  window.addEventListener("load", function () {
    var MJ = window.MathJax;
    if (!MJ || MJ.Hub) return;
    MJ.Hub = {
      Queue: function (job) {
        if (job && job[0] === "Typeset" && MJ.typesetPromise) MJ.typesetPromise([job[2]]);
      },
    };
  });
})();
