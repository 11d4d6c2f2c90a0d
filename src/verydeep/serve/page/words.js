// Every word of the page, in its languages. What the network and the server say (classes, errors) stays as it is.

export const WORDS = {
  en: {
    skip: "To the answer", language: "Language",
    about: "What a VGG network makes of a photo, and why.",
    photo: "Photo", drop: "Drop a photo here, paste one, or", choose: "choose a file", camera: "take a photo",
    shoot: "take it", stop: "cancel", noCamera: "There is no camera here, or it is not allowed.",
    notPhoto: "That is no JPEG, PNG or WebP picture.", tooLarge: "The photo is larger than 20 MiB.",
    gone: "The server does not answer. Is it still running?",
    token: "This server asks for a token:",
    answer: "Answer", model: "Model", compare: "compare with", nobody: "none", noAnswer: "No photo yet.",
    unknown: "Probably none of the model's classes.", took: "answered in {ms} ms",
    why: "Why", method: "Method", class: "for", best: "the answer", layer: "Layer", last: "the last convolution",
    gradcam: "bright is where the layer's maps speak for it",
    gradient: "bright is where a small change would change it",
    guided: "what raised it, through active units",
    deconvnet: "the pattern that it looks for here",
    integrated: "the pixels that made it, or spoke against it",
    occlusion: "bright is where covering a square lowers it",
    nowhere: "nothing in the photo speaks for it", where: "half of it in {share} % of the picture, most {place}",
    place0: "in the upper left", place1: "at the top", place2: "in the upper right",
    place3: "on the left", place4: "in the middle", place5: "on the right",
    place6: "in the lower left", place7: "at the bottom", place8: "in the lower right",
    fade: "photo – map", seenHint: "This is the square that the network gets, after resizing and cropping. "
      + "Point at it to see what one unit of the chosen layer looks at.",
    network: "Network", show: "Show", ofModel: "the model's",
    networkText: "{layers} layers with weights, {parameters} parameters, {macs} multiplications for a picture of "
      + "{side} × {side} pixels. Choose a layer.",
    maps: "show its maps of the photo", mapsAlt: "Maps of {layer}",
    name: "Layer", kind: "Kind", shape: "Output (channels × height × width)", parameters: "Parameters", macs: "MACs",
    memory: "Output in memory", field: "Receptive field", stride: "Stride", share: "Share of the time here",
    input: "the picture", conv: "convolution", pool: "max pooling", fc: "fully connected", gap: "global average",
    lrn: "response normalisation", pixels: "{n} × {n} pixels", seenAlt: "What the network gets",
    heatAlt: "Map of {method}", photoAlt: "Your photo",
    textA: "A: eight convolutions and three fully connected layers. It was trained first, and its layers started the deeper ones.",
    "textA-LRN": "A-LRN: A with a normalisation of neighbouring channels after its first layer, which did not help.",
    textB: "B: two convolutions in each of the first two blocks. Two of 3 × 3 see as much as one of 5 × 5, with fewer parameters and one more ReLU.",
    textC: "C: a third convolution of 1 × 1 in each of the last three blocks: one more ReLU, but no wider view.",
    textD: "D, VGG-16: the 1 × 1 convolutions of C become 3 × 3, which see what is around. The one that everybody uses.",
    textE: "E, VGG-19: four convolutions in each of the last three blocks. In the paper the error stops falling here.",
    private: "The photo goes to this server alone, and is not kept.", programs: "For programs",
  },
  zh: {
    skip: "跳到结果", language: "语言",
    about: "VGG 网络怎样看一张照片，为什么。",
    photo: "照片", drop: "把照片拖到这里、粘贴，或", choose: "选择文件", camera: "拍照",
    shoot: "拍下", stop: "取消", noCamera: "这里没有摄像头，或未获许可。",
    notPhoto: "这不是 JPEG、PNG 或 WebP 图片。", tooLarge: "照片大于 20 MiB。",
    gone: "服务器没有应答。它还在运行吗？",
    token: "这台服务器需要令牌：",
    answer: "结果", model: "模型", compare: "对比", nobody: "无", noAnswer: "还没有照片。",
    unknown: "很可能不属于模型的任何类别。", took: "用时 {ms} 毫秒",
    why: "为什么", method: "方法", class: "类别", best: "预测的类别", layer: "层", last: "最后一个卷积层",
    gradcam: "亮处是该层特征图支持这一类别的地方", gradient: "亮处稍有变化就会改变结果",
    guided: "经过活跃单元、提高了得分的图案", deconvnet: "网络在这里寻找的图案",
    integrated: "构成得分或与之相反的像素", occlusion: "遮住亮处会使概率下降",
    nowhere: "照片中没有支持它的地方", where: "一半集中在图片的 {share} %，主要在{place}",
    place0: "左上", place1: "上方", place2: "右上", place3: "左侧", place4: "中间", place5: "右侧",
    place6: "左下", place7: "下方", place8: "右下",
    fade: "照片 – 热图", seenHint: "这是缩放和裁剪之后网络得到的方块。把指针移到上面，可以看到所选层的一个单元看见的区域。",
    network: "网络", show: "显示", ofModel: "模型的网络",
    networkText: "{layers} 个带权重的层，{parameters} 个参数；一张 {side} × {side} 像素的图片需要 {macs} 次乘法。请选择一层。",
    maps: "显示它对照片的特征图", mapsAlt: "{layer} 的特征图",
    name: "层", kind: "类型", shape: "输出（通道 × 高 × 宽）", parameters: "参数", macs: "乘加次数",
    memory: "输出占用内存", field: "感受野", stride: "步长", share: "在本机所占时间",
    input: "图片", conv: "卷积", pool: "最大池化", fc: "全连接", gap: "全局平均", lrn: "局部响应归一化",
    pixels: "{n} × {n} 像素", seenAlt: "网络得到的图片", heatAlt: "{method} 的热图", photoAlt: "你的照片",
    textA: "A：八个卷积层和三个全连接层。最先训练的网络，它的层是更深网络的起点。",
    "textA-LRN": "A-LRN：在 A 的第一层之后加上相邻通道的归一化，没有帮助。",
    textB: "B：前两个块各有两个卷积。两个 3 × 3 与一个 5 × 5 看得一样宽，参数更少，多一个 ReLU。",
    textC: "C：后三个块各多一个 1 × 1 卷积：多一个 ReLU，但视野不变。",
    textD: "D，即 VGG-16：C 的 1 × 1 卷积变成 3 × 3，能看到周围。最常用的一个。",
    textE: "E，即 VGG-19：后三个块各有四个卷积。论文中误差到此不再下降。",
    private: "照片只发送到这台服务器，不会保存。", programs: "供程序使用",
  },
};

let chosen = "en";

/** The words of one key in the chosen language; {name} becomes what is given for it. */
export function say(key, given = {}) {
  return WORDS[chosen][key].replace(/\{(\w+)\}/g, (_, name) => given[name]);
}

/** The language that was chosen last, else the browser's. Another program at this address may have stored any word. */
export function preferred() {
  const stored = localStorage.getItem("language");
  return Object.hasOwn(WORDS, stored) ? stored : navigator.language.startsWith("zh") ? "zh" : "en";
}

/** Writes every element that has a key, in this language. */
export function speak(language) {
  chosen = language;
  document.documentElement.lang = language === "zh" ? "zh-Hans" : language;
  for (const element of document.querySelectorAll("[data-words]")) element.textContent = say(element.dataset.words);
}
